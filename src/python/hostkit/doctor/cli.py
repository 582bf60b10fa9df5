"""`doctor`."""

import os
import time
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path

import click

from hostkit.definition import Definition
from hostkit.doctor import machine, text
from hostkit.doctor.report import Report, StepReport, Verdict, WalkReport
from hostkit.doctor.steps import examine
from hostkit.errors import HostError, SettingsError
from hostkit.options import env_file_option, json_option
from hostkit.server import systemd
from hostkit.server.layout import Layout
from hostkit.settings import load

WATCH_SECONDS = 30.0


def add_commands(group: click.Group, definition: Definition) -> None:
    """Gives a host its commands."""

    @group.command()
    @env_file_option
    @json_option
    @click.option("--link", metavar="NAME", help="Examine only this one, for instance 'host'.")
    @click.option(
        "--watch",
        type=click.FloatRange(min=1),
        is_flag=False,
        flag_value=WATCH_SECONDS,
        metavar="[SECONDS]",
        help="Ask again and again until Ctrl-C, and tell what changes.",
    )
    @click.pass_context
    def doctor(
        context: click.Context,
        env_file: Path | None,
        as_json: bool,
        link: str | None,
        watch: float | None,
    ) -> None:
        """Find out what does not connect, why, and which line to change."""

        def look() -> Report:
            if env_file is None and systemd.is_for_the_service(Layout(definition.name)):
                return _as_the_service(definition, link)
            return report_on(definition, env_file, link)

        report = look()
        click.echo(_shown(report, as_json=as_json, indent=2 if watch is None else None))
        if watch is not None:
            report = _watch(look, report, watch, as_json=as_json)
        context.exit(0 if report.well else 1)


def report_on(definition: Definition, env_file: Path | None, only: str | None) -> Report:
    """Examines a host and its links, or `only` the one of that name."""
    try:
        loaded = load(definition.settings, env_file=env_file)
    except SettingsError as error:
        path = env_file or definition.settings.env_file()
        if path.exists() and not os.access(path, os.R_OK):
            raise  # Nothing is wrong with the settings: this user may not see them.
        links = (_wrong_settings(definition, path, error),)
        return Report.of(definition.name, datetime.now(UTC), links)
    walks = definition.walks(loaded)
    chosen = [walk for walk in walks if only in (None, walk.name)]
    if not chosen:
        names = ", ".join(walk.name for walk in walks)
        raise HostError(f"there is no link {only!r} of {definition.name}: write one of {names}")
    return Report.of(definition.name, datetime.now(UTC), examine(chosen))


def _as_the_service(definition: Definition, link: str | None) -> Report:
    """What the doctor finds as the service's user, with its credentials."""
    arguments = ["doctor", "--json", *(() if link is None else ("--link", link))]
    done = systemd.run_as_service(Layout(definition.name), arguments, capture=True)
    try:
        return Report.from_json(done.stdout)
    except ValueError:
        said = done.stderr.strip().removeprefix("error: ")
        raise HostError(
            said or f"the doctor ended with {done.returncode}: 'systemctl status {definition.unit}'"
        ) from None


def _wrong_settings(definition: Definition, path: Path, error: SettingsError) -> WalkReport:
    step = StepReport(
        "settings",
        Verdict.FAILED,
        "; ".join([*error.warnings, *str(error).splitlines()]),
        0,
        "With these settings the host does not start.",
        f"Correct what is named, mostly in {path}; '{definition.name} config --check' reads it"
        " again.",
    )
    return WalkReport(machine.NAME, f"this machine ({path})", (step,))


def _shown(report: Report, *, as_json: bool, indent: int | None = None) -> str:
    return report.to_json(indent=indent) if as_json else text.render(report)


def _watch(look: Callable[[], Report], report: Report, seconds: float, *, as_json: bool) -> Report:
    """Looks again and again; returns the last report when Ctrl-C is pressed."""
    try:
        while True:
            time.sleep(seconds)
            before, report = report, look()
            if as_json:
                click.echo(_shown(report, as_json=True))
            else:
                for line in text.changes(before, report):
                    click.echo(line)
    except KeyboardInterrupt:
        return report
