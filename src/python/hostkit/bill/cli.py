"""`sbom`."""

import json
from pathlib import Path

import click

from hostkit import release
from hostkit.definition import Definition
from hostkit.errors import HostError
from hostkit.files import write_atomically
from hostkit.server.pex import Pex, file_name

_HELP = """Print the bill of materials of this release.

It is CycloneDX 1.6, as JSON, made from what is inside the PEX file; the same file always gives the
same bytes. It has each package with its version, licence and hash, what needs what, the commit that
all was built from, and the SHA-256 of the PEX file. Scanners for known vulnerabilities and for
licences read it, and so do you:

\b
  X_host.pex sbom --output bill.cdx.json
  X_host.pex sbom | grep '"purl"'

docs/releases.md says how the hashes are worked out, and what is not listed.
"""


def add_commands(group: click.Group, definition: Definition) -> None:
    """Gives a host its command."""

    @group.command(help=_HELP.replace("X_host.pex", file_name(definition.name)))
    @click.option(
        "--output",
        type=click.Path(path_type=Path, dir_okay=False),
        metavar="FILE",
        help="Write to FILE, whole or not at all, instead of to standard output.",
    )
    def sbom(output: Path | None) -> None:
        if output and not output.parent.is_dir():
            raise HostError(
                f"the folder {output.parent} does not exist: create it, or name another"
            )
        # Imported here: no other command needs them.
        from hostkit.bill.contents import read  # noqa: PLC0415
        from hostkit.bill.cyclonedx import bill  # noqa: PLC0415

        contents = read(Pex.running(definition.name))
        document = bill(definition.name, release.describe(()), contents)
        text = json.dumps(document, indent=2) + "\n"
        if output:
            write_atomically(output, text)
        else:
            click.echo(text, nl=False)
