"""What the command lines of all hosts share: `version`, `config`, errors without tracebacks."""

import dataclasses
import errno
import json
import shutil
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import click

from hostkit import release
from hostkit.bill.cli import add_commands as add_bill_commands
from hostkit.definition import Definition
from hostkit.doctor.cli import add_commands as add_doctor_commands
from hostkit.errors import HostError, SettingsError
from hostkit.options import env_file_option, json_option, load_settings, print_warnings
from hostkit.outside.cli import add_commands as add_outside_commands
from hostkit.server.cli import add_commands as add_server_commands
from hostkit.settings import Setting
from hostkit.tls.cli import add_commands as add_tls_commands

_FAULTS_OF_THE_MACHINE = {errno.EACCES, errno.EDQUOT, errno.EIO, errno.ENOSPC, errno.EROFS}
"""What the operator mends, and a traceback says nothing about."""

_WIDTH_FOR_PIPES = 10_000
"""One line a setting where a program reads."""


class HostGroup(click.Group):
    """A group of commands that ends with sentences and an exit code on `HostError`."""

    def invoke(self, ctx: click.Context) -> Any:
        """Runs the command that was named."""
        with _sentences_for_errors(ctx):
            return super().invoke(ctx)


class HostCommand(click.Command):
    """The same for a program that is one command."""

    def invoke(self, ctx: click.Context) -> Any:
        """Runs the command."""
        with _sentences_for_errors(ctx):
            return super().invoke(ctx)


@contextmanager
def _sentences_for_errors(ctx: click.Context) -> Iterator[None]:
    try:
        yield
    except HostError as error:
        if isinstance(error, SettingsError):
            print_warnings(error.warnings)
        _print_errors(*str(error).splitlines())
        ctx.exit(error.exit_code)
    except OSError as error:
        if error.errno not in _FAULTS_OF_THE_MACHINE:
            raise
        _print_errors(f"{error.filename or 'a file'} cannot be used: {error.strerror}")
        ctx.exit(HostError.exit_code)


def _print_errors(*sentences: str) -> None:
    for sentence in sentences:
        click.secho(f"error: {sentence}", fg="red", err=True)


def add_common_commands(group: click.Group, definition: Definition) -> None:
    """Gives a host the commands that all hosts have."""

    @group.command()
    @json_option
    def version(as_json: bool) -> None:
        """Which release this is, and what it is made of."""
        this = release.describe(definition.distributions)
        if as_json:
            click.echo(json.dumps(dataclasses.asdict(this), indent=2))
            return
        revision = f" ({this.revision})" if this.revision else ""
        click.echo(f"{definition.name} {this.version}{revision}")
        for name, number in {**this.components, "Python": this.python}.items():
            click.echo(f"  {name} {number}")

    @group.group(invoke_without_command=True)
    @env_file_option
    @json_option
    @click.option("--check", is_flag=True, help="Only validate: print nothing if all is well.")
    @click.pass_context
    def config(context: click.Context, env_file: Path | None, as_json: bool, check: bool) -> None:
        """Every setting: its value, where it came from, what it is for. Secrets are hidden."""
        if context.invoked_subcommand is not None:
            return
        settings = Setting.all(load_settings(definition.settings, env_file))
        if check:
            return
        if as_json:
            click.echo(json.dumps([_as_document(setting) for setting in settings], indent=2))
        else:
            _print_list(settings)

    add_bill_commands(group, definition)
    add_server_commands(group, definition)
    add_doctor_commands(group, definition)
    add_outside_commands(config, definition)
    add_tls_commands(group)


def _as_document(setting: Setting) -> dict[str, str | int | None]:
    return {
        "name": setting.name,
        "value": setting.value,
        "origin": setting.origin.place,
        "line": setting.origin.line,
        "description": setting.description,
    }


def _print_list(settings: tuple[Setting, ...]) -> None:
    terminal = sys.stdout.isatty()
    width = shutil.get_terminal_size().columns if terminal else _WIDTH_FOR_PIPES
    formatter = click.HelpFormatter(width=width)
    formatter.write_dl(
        [
            (
                f"{setting.name}={setting.value or ''}",
                f"{setting.description.removesuffix('.')} ({setting.origin})",
            )
            for setting in settings
        ],
        col_max=width // 2,
    )
    click.echo(formatter.getvalue(), nl=False)
