"""Commands of the mlflow host."""

import click

from hostkit.cli import HostGroup, add_common_commands
from mlflow_host.settings import MlflowSettings


@click.group(cls=HostGroup)
def main() -> None:
    """The mlflow host."""


add_common_commands(main, MlflowSettings, ())
