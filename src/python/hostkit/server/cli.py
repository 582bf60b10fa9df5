"""Commands."""

import click

from hostkit.definition import Definition
from hostkit.server.backup_cli import add_backup_commands
from hostkit.server.install_cli import add_install_commands


def add_commands(group: click.Group, definition: Definition) -> None:
    """Gives a host its commands."""
    add_backup_commands(group, definition)
    add_install_commands(group, definition)
