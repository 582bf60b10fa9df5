"""A program that PyPI has in wheels, run from the `tools` resolve."""

from __future__ import annotations

from typing import ClassVar

from pants.backend.python.util_rules.pex import PexRequest, VenvPex, VenvPexProcess
from pants.backend.python.util_rules.pex_requirements import PexRequirements, Resolve
from pants.engine.fs import Digest
from pants.engine.rules import Get
from pants.option.option_types import SkipOption
from pants.option.subsystem import Subsystem


class Tool(Subsystem):
    """What is the same for all of them.

    `options_scope`: its name on PyPI.
    `name`: that of its program.
    `arguments`: what that is called with, before the files.
    """

    name: ClassVar[str]
    arguments: ClassVar[tuple[str, ...]]

    skip = SkipOption("fmt", "lint")


async def process(tool: Tool, files: tuple[str, ...], input_digest: Digest) -> VenvPexProcess:
    """The tool's run on `files`, which it may change."""
    tools = PexRequest(
        output_filename="tools.pex",
        internal_only=True,
        requirements=PexRequirements(
            from_superset=Resolve("tools", use_entire_lockfile=True),
            description_of_origin="the plugin pypi_linters",
        ),
    )
    return VenvPexProcess(
        await Get(VenvPex, PexRequest, tools),
        argv=(*tool.arguments, *files),
        extra_env={"PEX_SCRIPT": tool.name},
        input_digest=input_digest,
        output_files=files,
        description=f"Run {tool.name} on {', '.join(files)}",
    )
