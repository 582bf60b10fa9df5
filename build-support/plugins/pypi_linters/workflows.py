"""GitHub workflows: jactionlint finds what GitHub would refuse, zizmor what is dangerous.

Jactionlint is the fork of actionlint whose wheel on PyPI holds the program; actionlint's own wheel
downloads it from GitHub. The profile `correctness` is what actionlint checks.
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


class Jactionlint(Tool):
    """Finds mistakes."""

    options_scope = "jactionlint"
    help = "Finds keys, expressions and inputs of actions that GitHub does not know."
    name = "jactionlint"
    arguments = ("--profile=correctness", "--shellcheck=", "--pyflakes=")


class Zizmor(Tool):
    """Audits a workflow."""

    options_scope = "zizmor"
    help = "Finds what makes a workflow unsafe."
    name = "zizmor"
    arguments = ("--offline", "--no-progress", "--quiet", "--config=.github/zizmor.yml")


class JactionlintRequest(LintFilesRequest):
    """Jactionlint as a linter."""

    tool_subsystem = Jactionlint


class ZizmorRequest(LintFilesRequest):
    """Zizmor as a linter."""

    tool_subsystem = Zizmor


def _workflows(tool: Tool, files: tuple[str, ...]) -> Partitions[str, Any]:
    found = tuple(file for file in files if PurePath(file).match(".github/workflows/*.yml"))
    return Partitions() if tool.skip or not found else Partitions.single_partition(found)


@rule
async def find_for_jactionlint(
    request: JactionlintRequest.PartitionRequest, tool: Jactionlint
) -> Partitions[str, Any]:
    """Which files jactionlint is for."""
    return _workflows(tool, request.files)


@rule
async def find_for_zizmor(
    request: ZizmorRequest.PartitionRequest, tool: Zizmor
) -> Partitions[str, Any]:
    """Which files zizmor is for."""
    return _workflows(tool, request.files)


@rule(desc="Lint with jactionlint")
async def lint_with_jactionlint(
    request: JactionlintRequest.Batch[str, Any], tool: Jactionlint
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
    return [*collect_rules(), *JactionlintRequest.rules(), *ZizmorRequest.rules()]
