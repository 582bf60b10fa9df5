"""`status`."""

import dataclasses
import json
from typing import Any

import click

from hostkit.definition import Definition
from hostkit.options import json_option
from hostkit.server import status as statuses
from hostkit.server.layout import Layout
from hostkit.server.machine import MEBIBYTE
from hostkit.server.status import Status
from hostkit.server.systemd import Unit

WELL = {True: ("ok", "green"), False: ("down", "red")}


def add_status_command(group: click.Group, definition: Definition) -> None:
    """Gives a host `status`."""

    @group.command()
    @json_option
    @click.pass_context
    def status(context: click.Context, as_json: bool) -> None:
        """Show units, release, links, disk and backups; the exit code is 0 if all units run."""
        found = statuses.look(definition, Layout(definition.name))
        if as_json:
            click.echo(json.dumps(_document(found), indent=2))
        else:
            _tell(found)
        context.exit(0 if found.well else 1)


def _document(found: Status) -> dict[str, Any]:
    document = dataclasses.asdict(found)
    if found.release:
        document["release"] |= {"name": found.release.name, "folder": str(found.release.folder)}
    return document | {"well": found.well}


def _tell(found: Status) -> None:
    if found.release is None:
        click.echo(f"{found.host} is not installed here: run 'install' of its PEX file")
    else:
        before = f", before it {found.release.previous}" if found.release.previous else ""
        click.echo(f"{found.host} {found.release}, installed {found.release.installed_at}{before}")
    if found.unfinished:
        click.echo(f"An upgrade was interrupted: run '{found.host} rollback --unfinished'")
    for unit in found.units:
        colour = "green" if unit.active == "active" else "red"
        click.echo(f"  {click.style(f'{unit.active:12}', fg=colour)} {unit.name}{_more(unit)}")
    click.echo("links")
    for link in found.links or ():
        word, colour = WELL[link.well]
        click.echo(f"  {click.style(f'{word:12}', fg=colour)} {link.target}: {link.seen}")
    if found.links is None:
        click.echo("  unknown      the settings cannot be read: ask as root, or see 'config'")
    click.echo("disk")
    for disk in found.disks:
        click.echo(
            f"  {disk.free // MEBIBYTE} MiB of {disk.total // MEBIBYTE} MiB free: {disk.folder}"
        )
    backup = found.last_backup or "none"
    click.echo(f"last backup: {backup if found.backups_known else 'unknown (ask as root)'}")


def _more(unit: Unit) -> str:
    parts = [f"since {unit.since}"] if unit.since else []
    if unit.restarts:
        parts.append(f"{unit.restarts} restarts")
    if unit.memory is not None:
        parts.append(f"{unit.memory // MEBIBYTE} MiB")
    return f"  ({', '.join(parts)})" if parts else ""
