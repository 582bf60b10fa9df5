"""The options that many commands have, and the settings that they are read with."""

from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import click

from hostkit.settings import AnySettings, Loaded, load

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
    """Reads a host's settings and shows its warnings on standard error."""
    loaded = load(model, env_file=env_file)
    print_warnings(loaded.warnings)
    return loaded


def print_warnings(sentences: tuple[str, ...]) -> None:
    """Shows what looks like a mistake but may not be one."""
    for sentence in sentences:
        click.secho(f"warning: {sentence}", fg="yellow", err=True)
