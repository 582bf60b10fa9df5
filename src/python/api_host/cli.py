"""Commands of the API host."""

from pathlib import Path

import click

from api_host.settings import ApiSettings
from hostkit import log
from hostkit.cli import HostGroup, add_common_commands, env_file_option, load_settings


@click.group(cls=HostGroup)
def main() -> None:
    """Predictions: serves the models that MLflow's registry calls champions."""


@main.command()
@env_file_option
def serve(env_file: Path | None) -> None:
    """Serve until SIGTERM; what has been asked by then is answered."""
    settings = load_settings(ApiSettings, env_file).settings
    log.configure()
    # Imported here: `version` and `config` need no server.
    from api_host.serve import serve as run  # noqa: PLC0415

    run(settings)


add_common_commands(main, ApiSettings, ("scikit-learn", "skops", "starlette", "hypercorn"))
