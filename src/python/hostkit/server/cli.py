"""Commands."""

import click

from hostkit.definition import Definition


def add_commands(group: click.Group, definition: Definition) -> None:
    """Gives a host its commands."""
