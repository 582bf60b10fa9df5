"""Commands."""

import click

from hostkit.definition import Definition
from hostkit.server.backup_cli import add_backup_commands


def add_commands(group: click.Group, definition: Definition) -> None:
    """Gives a host its commands."""
    add_backup_commands(group, definition)
