"""The commands of the MLflow host."""

import json
import logging
import os
from pathlib import Path

import click

from hostkit import log
from hostkit.cli import HostGroup, add_common_commands
from hostkit.options import env_file_option, json_option, load_settings
from hostkit.server import systemd
from hostkit.settings import load
from mlflow_host.accounts.cli import add_users_commands
from mlflow_host.definition import DEFINITION
from mlflow_host.environment import server_environment
from mlflow_host.settings import MlflowSettings

# MLflow takes two seconds to import, and reads the environment then: only the commands that need
# it import it, once the settings are in place.


@click.group(cls=HostGroup)
def main() -> None:
    """Server 1 of Tripod: MLflow, its tracking server and its model registry.

    \b
    On an empty machine:
      mlflow_host.pex config --check          is the env file right?
      mlflow_host.pex serve                   makes the database, then serves
    Off this machine alone everybody needs an account:
      mlflow_host.pex users add-service api   the API host's; then airflow
      mlflow_host.pex users add NAME          a person's
    With a newer release:
      mlflow_host.pex migrate                 brings the database up to it

    Settings come from /etc/mlflow-host/env, or from the file that --env-file names.
    """  # noqa: D301 (click wants the character)


@main.command()
@env_file_option
def serve(env_file: Path | None) -> None:
    """Run the tracking server and the model registry, until SIGTERM."""
    environment = dict(os.environ)
    settings = _prepare(env_file)
    from mlflow_host import serve as server  # noqa: PLC0415

    server.serve(
        settings,
        lambda: load(MlflowSettings, env_file=env_file, environment=environment).settings,
        environment,
    )


@main.command()
@env_file_option
@json_option
def migrate(env_file: Path | None, as_json: bool) -> None:
    """Make or upgrade the schema of the database. Make a backup first."""
    if env_file is None:
        systemd.hand_over(DEFINITION.name, "migrate", *(["--json"] if as_json else []))
    settings = _prepare(env_file)
    from mlflow_host import database  # noqa: PLC0415
    from mlflow_host.accounts import setup  # noqa: PLC0415

    done = {
        database.Schema.EMPTY: "made",
        database.Schema.OLDER: "upgraded",
        database.Schema.CURRENT: "up to date",
    }
    before = database.migrate(settings.mlflow_backend_store_uri)
    with database.explained(settings.mlflow_backend_store_uri):
        changed = setup.migrate(settings, is_new=before is database.Schema.EMPTY)
    if as_json:
        click.echo(json.dumps({"changed": changed or before is not database.Schema.CURRENT}))
        return
    click.echo(f"The schema of the database is {done[before]}.")


def _prepare(env_file: Path | None) -> MlflowSettings:
    loaded = load_settings(MlflowSettings, env_file)
    os.umask(0o077)  # A model is code: nobody else may write it, or read what it learned from.
    os.environ.update(loaded.environment())
    os.environ.update(server_environment(loaded.settings))
    os.environ.setdefault("PGCONNECT_TIMEOUT", "10")  # Seconds; else a silent server holds us up.
    log.configure()
    logging.getLogger("alembic").setLevel(logging.WARNING)  # Else 70 lines of steps.
    return loaded.settings


add_common_commands(main, DEFINITION)
add_users_commands(main, DEFINITION.name, _prepare)

if __name__ == "__main__":
    main()
