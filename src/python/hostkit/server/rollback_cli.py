"""`rollback`."""

import os
from datetime import UTC, datetime

import click

from hostkit import audit
from hostkit.definition import Definition
from hostkit.server import install as installing
from hostkit.server import machine, upgrades
from hostkit.server.install_cli import ending_on_signals, tell
from hostkit.server.layout import Layout
from hostkit.server.operations import Machine
from hostkit.server.upgrades import Rollback

SECONDS_OF_A_DAY = 24 * 60 * 60


def add_rollback_command(group: click.Group, definition: Definition) -> None:
    """Gives a host `rollback`."""

    @group.command()
    @click.option("--to", metavar="RELEASE", help="This release instead of the previous one.")
    @click.option("--unfinished", is_flag=True, help="Go back from an upgrade that was cut off.")
    @click.option("--yes", is_flag=True, help="Do not ask.")
    def rollback(to: str | None, unfinished: bool, yes: bool) -> None:
        """Go back to the release that ran before, and to the database that it had."""
        machine.require_root(definition.name, "rollback")
        os.umask(0o022)
        host = Machine(definition, Layout(definition.name), tell)
        with ending_on_signals(), installing.locked(host.layout):
            journal = upgrades.finish_unfinished(host)
            if unfinished:
                back = f"went back to {journal.old}" if journal else "no upgrade is unfinished"
                click.echo(f"{definition.name}: {back}")
                return
            way = upgrades.plan_rollback(host, to)
            _tell_loss(way)
            if not yes:
                click.confirm(f"Go back to the release {way.target}?", abort=True)
            upgrades.roll_back(host, way)
            audit.note_command(definition.name, "release.rollback", f"release:{way.target}")
            click.echo(f"{definition.name} went back from {way.current} to {way.target}")


def _tell_loss(way: Rollback) -> None:
    made = way.backup_made()
    if made is None:
        click.echo(f"From {way.current} to {way.target}: the database stays as it is.")
        return
    span = datetime.now(UTC) - datetime.fromisoformat(made)
    click.echo(
        f"The release {way.current} changed the database, which {way.target} cannot read any more:"
        f" it is restored from {way.backup}. What was written since {made}"
        f" ({_as_text(span.total_seconds())}) is lost; the database of now is kept beside it."
    )


def _as_text(seconds: float) -> str:
    days, rest = divmod(int(seconds), SECONDS_OF_A_DAY)
    hours, rest = divmod(rest, 60 * 60)
    minutes, rest = divmod(rest, 60)
    parts = ((days, "days"), (hours, "hours"), (minutes, "minutes"), (rest, "seconds"))
    told = [f"{number} {unit}" for number, unit in parts if number]
    return " ".join(told[:2]) or "0 seconds"
