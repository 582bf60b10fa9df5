"""`install` and `uninstall`."""

import atexit
import dataclasses
import json
import os
import signal
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from types import FrameType

import click

from hostkit import audit
from hostkit.definition import Definition
from hostkit.options import json_option
from hostkit.server import checksum
from hostkit.server import install as installing
from hostkit.server import machine, pex, plan, releases
from hostkit.server import uninstall as uninstalling
from hostkit.server import upgrades
from hostkit.server.install import Left
from hostkit.server.layout import Layout
from hostkit.server.operations import Machine
from hostkit.server.pex import Pex
from hostkit.server.plan import ROOT, Plan, Step

CODE_OF_A_SIGNAL = 128

_PAST = {"make": "made", "change": "changed", "remove": "removed"}


def tell(what: str) -> None:
    """Says what is going on. Whoever listened may have gone away: that stops nothing."""
    with suppress(OSError):
        click.secho(f"{what} ...", dim=True, err=True)


@contextmanager
def ending_on_signals() -> Iterator[None]:
    """Lets SIGTERM and a terminal that is closed end the work as Ctrl-C does: it is undone."""

    def end(number: int, _frame: FrameType | None) -> None:
        sys.exit(CODE_OF_A_SIGNAL + number)

    before = {number: signal.signal(number, end) for number in (signal.SIGTERM, signal.SIGHUP)}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def add_install_commands(group: click.Group, definition: Definition) -> None:
    """Gives a host `install` and `uninstall`."""

    @group.command()
    @click.option("--dry-run", is_flag=True, help="Only show what would be done.")
    @click.option(
        "--verify",
        metavar="SHA256|FILE",
        help="Refuse unless this PEX file has the SHA-256 that is given, or that FILE, made by"
        " sha256sum, has for its name.",
    )
    @click.option(
        "--root",
        type=click.Path(path_type=Path, exists=True, file_okay=False, resolve_path=True),
        default=ROOT,
        metavar="DIR",
        help="Prepare the image of a server in DIR, instead of this machine.",
    )
    @json_option
    def install(dry_run: bool, verify: str | None, root: Path, as_json: bool) -> None:
        """Install this release here, or upgrade to it. Done again, it changes nothing."""
        machine.require_root(definition.name, "install")
        atexit.register(pex.forget)
        os.umask(0o022)
        layout = Layout(definition.name, root)
        file = Pex.running(definition.name)
        checksum.verify(file, verify)
        machine.check(definition, layout, file)
        report = _Report(dry_run, as_json)
        if dry_run:
            report.finish(plan.make(definition, layout, file), None, layout)
            return
        os.sync()  # What PEX unpacked to run this must be whole after a power cut, or not there.
        with ending_on_signals(), installing.locked(layout):
            host = Machine(definition, layout, tell)
            upgrades.finish_unfinished(host)
            todo = plan.make(definition, layout, file)
            upgrades.check(host, todo)
            installing.take(todo.preparation, tell, report.done)
            try:
                if todo.previous and root == ROOT:
                    upgrades.upgrade(host, todo.previous, releases.find(layout, todo.release))
                else:
                    installing.take(todo.switch, tell, report.done)
            finally:
                if not layout.unfinished.exists():
                    releases.prune(layout)
            _note(layout, todo)
            report.finish(todo, installing.left(definition, layout), layout)

    @group.command()
    @click.option(
        "--purge", is_flag=True, help="Remove settings, data, backups and empty folders too."
    )
    @click.option("--yes", is_flag=True, help="Do not ask.")
    def uninstall(purge: bool, yes: bool) -> None:
        """Take this host off the server. Its settings, data and backups stay."""
        machine.require_root(definition.name, "uninstall")
        layout = Layout(definition.name)
        elsewhere = uninstalling.folders_elsewhere(definition, layout)
        steps = uninstalling.removable(layout, purge=purge, elsewhere=elsewhere)
        if not steps:
            click.echo(f"{definition.name} is not installed here.")
            return
        if not yes:
            for step in steps:
                click.echo(f"{step.verb:8} {step.what}")
            what = " and everything that it keeps" if purge else ""
            click.confirm(f"Take {definition.name}{what} off this server?", abort=True)
        report = _Report(dry_run=False, as_json=False)
        installing.take(steps, tell, report.done)
        audit.note_command(definition.name, "release.uninstall", f"host:{definition.name}")
        reason = ": what is there is not this host's" if purge else ""
        for folder in uninstalling.kept(layout, elsewhere):
            click.echo(f"kept     {folder}{reason}")


def _note(layout: Layout, todo: Plan) -> None:
    if todo.steps and layout.root == ROOT:
        done = "release.upgrade" if todo.previous else "release.install"
        audit.note_command(layout.host, done, f"release:{todo.release}")


class _Report:
    """What a person, or a program, is told of an install."""

    def __init__(self, dry_run: bool, as_json: bool) -> None:
        self._dry_run = dry_run
        self._as_json = as_json

    def done(self, step: Step) -> None:
        """A step was taken."""
        if not self._as_json:
            with suppress(OSError):
                click.echo(f"{_PAST[step.verb]:8} {step.what}")

    def finish(self, todo: Plan, left: Left | None, layout: Layout) -> None:
        """All steps were taken, or would be."""
        if self._as_json:
            document = {
                "host": layout.host,
                "release": todo.release,
                "previous": todo.previous.name if todo.previous else None,
                "dry_run": self._dry_run,
                "changes": [{"verb": step.verb, "what": step.what} for step in todo.steps],
                "left": dataclasses.asdict(left) if left else None,
            }
            click.echo(json.dumps(document, indent=2))
            return
        if self._dry_run:
            for step in todo.steps:
                click.echo(f"would {step.verb:6} {step.what}")
            if todo.previous:
                click.echo(f"would upgrade from the release {todo.previous}")
            return
        if todo.previous:
            click.echo(f"{layout.host} was upgraded from {todo.previous} to {todo.release}")
        if not todo.steps:
            click.echo(f"unchanged: {layout.host} {todo.release} is installed as it should be")
        if left:
            _tell_left(left, layout)


def _tell_left(left: Left, layout: Layout) -> None:
    if not (left.settings or left.commands):
        return
    click.echo("\nWhat is left to do:")
    if left.settings:
        click.echo(f"- Edit {layout.env_file}:")
        for sentence in left.settings:
            click.echo(f"    {sentence}")
    if left.credentials:
        click.echo("- Write the passwords and keys that you use. These are empty, so not set:")
        for name in left.credentials:
            click.echo(f"    {name}")
    for command in left.commands:
        click.echo(f"- {command}")
