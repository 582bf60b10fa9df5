"""`config proxy` and `config firewall`."""

import click

from hostkit.definition import Definition


def add_commands(config: click.Group, definition: Definition) -> None:
    """Gives a host's `config` its commands."""
