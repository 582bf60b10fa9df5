"""Commands of the airflow host."""

import click

from airflow_host.settings import AirflowSettings
from hostkit.cli import HostGroup, add_common_commands


@click.group(cls=HostGroup)
def main() -> None:
    """The airflow host."""


add_common_commands(main, AirflowSettings, ())
