"""Commands."""

import click

from hostkit.definition import Definition
from hostkit.server.backup_cli import add_backup_commands
from hostkit.server.install_cli import add_install_commands
from hostkit.server.rollback_cli import add_rollback_command
from hostkit.server.rotate_cli import add_rotate_command
from hostkit.server.status_cli import add_status_command


def add_commands(group: click.Group, definition: Definition) -> None:
    """Gives a host its commands."""
    add_backup_commands(group, definition)
    add_install_commands(group, definition)
    add_rollback_command(group, definition)
    add_rotate_command(group, definition)
    add_status_command(group, definition)
