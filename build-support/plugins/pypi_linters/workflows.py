"""GitHub workflows: check-jsonschema knows what one may say, zizmor what is dangerous to say.

actionlint would do the first better, but neither PyPI nor Debian has it.
"""

from __future__ import annotations

from pathlib import PurePath
from typing import Any

from pants.backend.python.util_rules.pex import VenvPexProcess
from pants.core.goals.lint import LintFilesRequest, LintResult
from pants.core.util_rules.partitions import Partitions
from pants.engine.fs import Digest, PathGlobs
from pants.engine.process import FallibleProcessResult
from pants.engine.rules import Get, collect_rules, rule

from pypi_linters.tool import Tool, process


class CheckJsonschema(Tool):
    """Holds a workflow against GitHub's schema."""

    options_scope = "check-jsonschema"
    help = "Finds keys and values that GitHub does not know."
    name = "check-jsonschema"
    arguments = ("--builtin-schema", "vendor.github-workflows")


class Zizmor(Tool):
    """Audits a workflow."""

    options_scope = "zizmor"
    help = "Finds what makes a workflow unsafe."
    name = "zizmor"
    arguments = ("--offline", "--no-progress", "--quiet", "--config=.github/zizmor.yml")


class CheckJsonschemaRequest(LintFilesRequest):
    """Check-jsonschema as a linter."""

    tool_subsystem = CheckJsonschema


class ZizmorRequest(LintFilesRequest):
    """Zizmor as a linter."""

    tool_subsystem = Zizmor


def _workflows(tool: Tool, files: tuple[str, ...]) -> Partitions[str, Any]:
    found = tuple(file for file in files if PurePath(file).match(".github/workflows/*.yml"))
    return Partitions() if tool.skip or not found else Partitions.single_partition(found)


@rule
async def find_for_check_jsonschema(
    request: CheckJsonschemaRequest.PartitionRequest, tool: CheckJsonschema
) -> Partitions[str, Any]:
    """Which files check-jsonschema is for."""
    return _workflows(tool, request.files)


@rule
async def find_for_zizmor(
    request: ZizmorRequest.PartitionRequest, tool: Zizmor
) -> Partitions[str, Any]:
    """Which files zizmor is for."""
    return _workflows(tool, request.files)


@rule(desc="Lint with check-jsonschema")
async def lint_with_check_jsonschema(
    request: CheckJsonschemaRequest.Batch[str, Any],
    tool: CheckJsonschema,
) -> LintResult:
    """Reports what GitHub would not take."""
    sources = await Get(Digest, PathGlobs(request.elements))
    run = await process(tool, request.elements, sources)
    return LintResult.create(request, await Get(FallibleProcessResult, VenvPexProcess, run))


@rule(desc="Lint with zizmor")
async def lint_with_zizmor(request: ZizmorRequest.Batch[str, Any], tool: Zizmor) -> LintResult:
    """Reports what is not safe."""
    sources = await Get(Digest, PathGlobs((*request.elements, ".github/zizmor.yml")))
    run = await process(tool, request.elements, sources)
    return LintResult.create(request, await Get(FallibleProcessResult, VenvPexProcess, run))


def rules() -> list[Any]:
    """What Pants is to know of this module."""
    return [*collect_rules(), *CheckJsonschemaRequest.rules(), *ZizmorRequest.rules()]
