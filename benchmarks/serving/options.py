"""Options of more than one benchmark."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import click


class Several(click.ParamType[tuple[Any, ...]]):
    """Several values with commas between them."""

    name = "list"

    def __init__(self, kind: Callable[[str], Any], allowed: tuple[Any, ...] = ()) -> None:
        self._kind, self._allowed = kind, allowed

    def convert(
        self, value: Any, param: click.Parameter | None, ctx: click.Context | None
    ) -> tuple[Any, ...]:
        """Reads them."""
        if isinstance(value, tuple):
            return value
        try:
            found = tuple(self._kind(part.strip()) for part in str(value).split(","))
        except ValueError:
            self.fail(f"{value!r} is not a list of numbers", param, ctx)
        for item in found:
            if self._allowed and item not in self._allowed:
                self.fail(f"{item!r} is none of {', '.join(map(str, self._allowed))}", param, ctx)
        return found


class Setting(click.ParamType[tuple[str, str]]):
    """A line of an env file."""

    name = "NAME=VALUE"

    def convert(
        self, value: Any, param: click.Parameter | None, ctx: click.Context | None
    ) -> tuple[str, str]:
        """Reads it."""
        name, separator, text = str(value).partition("=")
        if not separator:
            self.fail(f"{value!r} lacks a '='", param, ctx)
        return name, text


keep_option = click.option(
    "--keep", type=click.Path(path_type=Path), help="A new folder for all logs and models."
)
"""Where to look afterwards."""

settings_option = click.option(
    "--set", "settings", type=Setting(), multiple=True, help="A line of the API's env file."
)
"""What the API is to be told besides."""
