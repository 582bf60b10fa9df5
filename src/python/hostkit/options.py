"""The options that many commands have, and the settings that they are read with."""

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import click

from hostkit.server.layout import Layout
from hostkit.settings import CREDENTIALS_DIRECTORY, AnySettings, Loaded, load

Command = TypeVar("Command", bound=Callable[..., Any])


def env_file_option(command: Command) -> Command:
    """Adds `--env-file PATH`, which the command receives as `env_file: Path | None`."""
    return click.option(
        "--env-file",
        type=click.Path(path_type=Path, dir_okay=False),
        help="Read settings from PATH instead of the host's own env file below /etc.",
        metavar="PATH",
    )(command)


def json_option(command: Command) -> Command:
    """Adds `--json`, which the command receives as `as_json: bool`."""
    return click.option("--json", "as_json", is_flag=True, help="Print JSON, for machines.")(
        command
    )


def load_settings(model: type[AnySettings], env_file: Path | None) -> Loaded[AnySettings]:
    """Reads a host's settings and shows its warnings on standard error.

    Where root asks for the host of this machine, with the credentials that its units get.
    """
    environment = dict(os.environ)
    credentials = Layout(model.host_name).credentials
    if env_file in (None, model.env_file()) and os.access(credentials, os.R_OK):
        environment.setdefault(CREDENTIALS_DIRECTORY, str(credentials))
    loaded = load(model, env_file=env_file, environment=environment)
    print_warnings(loaded.warnings)
    return loaded


def print_warnings(sentences: tuple[str, ...]) -> None:
    """Shows what looks like a mistake but may not be one."""
    for sentence in sentences:
        click.secho(f"warning: {sentence}", fg="yellow", err=True)
