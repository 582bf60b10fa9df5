"""`tls`: a private CA on whichever machine the operator keeps it, and what it issues."""

import json
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING

import click

from hostkit.options import json_option
from hostkit.tls.lives import utc_now

if TYPE_CHECKING:
    from hostkit.tls.bundles import Bundle

# `cryptography` takes a while to import: only the commands that need it import it.

DEFAULT_FOLDER = Path("tripod-ca")
_DAYS = 90
_MOST_DAYS = 825
"""Longer ones are refused by some browsers."""

_folder = click.Path(path_type=Path, file_okay=False)
ca_option = click.option(
    "--ca",
    "folder",
    type=_folder,
    default=DEFAULT_FOLDER,
    show_default=True,
    metavar="DIR",
    help="The folder of the CA.",
)


def add_commands(group: click.Group) -> None:
    """Gives a host its commands."""

    @group.group()
    def tls() -> None:
        """A private CA, and certificates by which hosts know each other.

        Needs no installed host: run it where the key of the CA is to be kept.
        """

    for command in (ca, issue, renew, show):
        tls.add_command(command)


@click.command()
@click.option(
    "--folder",
    type=_folder,
    default=DEFAULT_FOLDER,
    show_default=True,
    metavar="DIR",
    help="Where to keep it.",
)
@click.option(
    "--only",
    multiple=True,
    metavar="DOMAIN|NETWORK",
    help="All that it may sign for, for instance example.com, 10.0.0.0/24. Not given: anything.",
)
def ca(folder: Path, only: tuple[str, ...]) -> None:
    """Make a CA, for ten years. One that is there stays as it is."""
    from hostkit.tls import authority  # noqa: PLC0415

    there = (folder / authority.CERTIFICATE).exists()
    made = authority.Authority.make(folder, only, utc_now())
    click.echo(
        f"{folder / authority.CERTIFICATE} {'was there already' if there else 'was made'}, valid"
        f" until {made.certificate.not_valid_after_utc:%Y-%m-%d}: copy it to every host. Keep"
        f" {folder / authority.KEY} here: who has it can be any host."
    )


@click.command()
@click.argument("names", nargs=-1, required=True, metavar="NAME...")
@ca_option
@click.option(
    "--days",
    type=click.IntRange(1, _MOST_DAYS),
    default=_DAYS,
    show_default=True,
    help="How long it is valid.",
)
def issue(names: tuple[str, ...], folder: Path, days: int) -> None:
    """Make key and certificate for one host, by all names and addresses that it is called by.

    They are one file, named after the first. With the same names again nothing is done until a
    third of its life is left.
    """
    from hostkit.tls import bundles  # noqa: PLC0415

    bundle, made = bundles.issue(folder, names, timedelta(days=days), utc_now())
    _tell(bundle, made=made)


@click.command()
@click.argument("names", nargs=-1, metavar="[NAME]...")
@ca_option
@click.option("--now", "at_once", is_flag=True, help="Also what has more than a third of its life.")
def renew(names: tuple[str, ...], folder: Path, *, at_once: bool) -> None:
    """Make new keys and certificates for what was issued and has a third of its life, or less.

    For a timer: most of the time it does nothing. NAME is the first that a host was issued for.
    """
    from hostkit.tls import bundles  # noqa: PLC0415

    for bundle, made in bundles.renew(folder, names, utc_now(), at_once=at_once):
        _tell(bundle, made=made)


@click.command(name="list")
@ca_option
@json_option
def show(folder: Path, *, as_json: bool) -> None:
    """The CA and all that it issued, and until when they are valid."""
    from hostkit.tls import bundles  # noqa: PLC0415
    from hostkit.tls.names import texts_of  # noqa: PLC0415

    now = utc_now()
    found = bundles.everything(folder)
    if not as_json:
        click.echo("\n".join(bundle.describe(now) for bundle in found))
        return
    documents = [
        {
            "file": str(bundle.file),
            "names": texts_of(bundle.names),
            "start": bundle.life.start.isoformat(),
            "end": bundle.life.end.isoformat(),
            "due": bundle.life.is_due(now),
        }
        for bundle in found
    ]
    click.echo(json.dumps(documents, indent=2))


def _tell(bundle: "Bundle", *, made: bool) -> None:
    click.echo(f"{'made' if made else 'unchanged'}: {bundle.describe(utc_now())}")
