"""Commands of the api host."""

import click

from api_host.settings import ApiSettings
from hostkit.cli import HostGroup, add_common_commands


@click.group(cls=HostGroup)
def main() -> None:
    """The api host."""


add_common_commands(main, ApiSettings, ())
