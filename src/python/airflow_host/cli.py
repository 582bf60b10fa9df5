"""Commands of the airflow host."""

import getpass
import json
import os
import subprocess
import sys
from pathlib import Path
from types import ModuleType

import click

from airflow_host import task_logs
from airflow_host.components import Component
from airflow_host.definition import DEFINITION
from airflow_host.environment import of_mlflows_client
from airflow_host.people_cli import add_users_command
from airflow_host.secret_keys import SIGNING_KEY, make_keys
from airflow_host.settings import AirflowSettings, ComponentSettings
from airflow_host.training.signing import read_key
from hostkit import audit, log
from hostkit.cli import HostGroup, add_common_commands
from hostkit.errors import HostError
from hostkit.options import env_file_option, json_option, load_settings
from hostkit.server import systemd
from hostkit.settings import Loaded
from hostkit.signing.keys import public_text


@click.group(cls=HostGroup)
def main() -> None:
    """Server 2 of Tripod: Airflow, with the DAG that trains models.

    \b
    On an empty machine:
      airflow_host.pex config --check         is the env file right?
      airflow_host.pex serve api-server       makes database and user, then serves
      airflow_host.pex serve scheduler        each in a terminal or unit
      airflow_host.pex serve dag-processor
      airflow_host.pex serve triggerer

    Settings come from /etc/airflow-host/env, or from the file that --env-file names.
    """  # noqa: D301 (click wants the character)


@main.group(invoke_without_command=True)
@click.pass_context
def serve(context: click.Context) -> None:
    """Run one of Airflow's four processes: each must run for Airflow to work."""
    if context.invoked_subcommand is None:
        click.echo(context.get_help(), err=True)
        context.exit(2)


def _add_command(component: Component) -> None:
    @serve.command(component.value, help=component.purpose)
    @env_file_option
    def run(env_file: Path | None) -> None:
        if component is Component.API_SERVER:
            loaded = load_settings(AirflowSettings, env_file)
            serving = _begin()
            serving.serve_api_server(loaded)
        else:
            without_password = load_settings(ComponentSettings, env_file)
            serving = _begin()
            serving.serve(component, without_password)


def _begin() -> ModuleType:
    log.configure()
    from airflow_host import serve as serving  # noqa: PLC0415 (half a second)

    return serving


for _component in Component:
    _add_command(_component)


@main.command()
@env_file_option
@json_option
def migrate(env_file: Path | None, as_json: bool) -> None:
    """Make or upgrade the database, the shared secrets, the roles and the user.

    Run it after a new release was installed, with Airflow stopped and a backup made. To run it
    again does no harm.
    """
    if env_file is None:
        systemd.hand_over(DEFINITION.name, "migrate", *(["--json"] if as_json else []))
    loaded = load_settings(AirflowSettings, env_file)
    log.configure()
    from airflow_host import migrate as migration  # noqa: PLC0415 (takes half a second)
    from airflow_host.serve import prepare  # noqa: PLC0415

    changed = migration.migrate(loaded.settings, prepare(loaded), upgrade=True)
    if as_json:
        click.echo(json.dumps({"changed": changed}))
        return
    click.echo("The database is ready." if changed else "The database was ready already.")


@main.command()
@env_file_option
def clean_logs(env_file: Path | None) -> None:
    """Remove the logs of tasks that are older than AIRFLOW_LOGS_KEPT_DAYS.

    On a server a timer does it once a day.
    """
    if env_file is None:
        systemd.hand_over(DEFINITION.name, "clean-logs")
    loaded = load_settings(ComponentSettings, env_file)
    folder = task_logs.folder(loaded)
    removed = task_logs.clean(folder, loaded.settings.airflow_logs_kept_days)
    click.echo(f"{removed} old files below {folder} were removed.")


@main.command()
@env_file_option
def signing_key(env_file: Path | None) -> None:
    """Print the public key of the models that are trained here.

    The API host needs it in a file that its setting MODEL_PUBLIC_KEYS names. It is no secret, but
    it must come from here.
    """
    if env_file is None:
        systemd.hand_over(DEFINITION.name, "signing-key")
    loaded = load_settings(ComponentSettings, env_file)
    click.echo(public_text(read_key(_signing_key_file(loaded)).public_key()), nl=False)


@main.command()
@click.argument("model")
@click.argument("version")
@env_file_option
def sign_model(model: str, version: str, env_file: Path | None) -> None:
    """Sign VERSION of MODEL in MLflow as it is now.

    train_model signs what it makes. This is for versions that are older than the key or that came
    to MLflow by another way: be sure that nobody has changed them.
    """
    if env_file is None:
        systemd.hand_over(DEFINITION.name, "sign-model", model, version)
    loaded = load_settings(ComponentSettings, env_file)
    log.configure()
    os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")
    os.environ.update(of_mlflows_client(loaded.settings, os.environ))
    from airflow_host.training.approval import approve  # noqa: PLC0415 (takes seconds)

    uri = loaded.settings.mlflow_tracking_uri
    fingerprint = approve(uri, _signing_key_file(loaded), model, version)
    audit.note("model.sign", f"model:{model}/{version}", who=f"os:{getpass.getuser()}")
    click.echo(f"version {version} of {model} is signed with the key {fingerprint}")


def _signing_key_file(loaded: Loaded[ComponentSettings]) -> Path:
    given = loaded.credentials().get(SIGNING_KEY)
    return given or make_keys(loaded.settings.airflow_home, (SIGNING_KEY,))[SIGNING_KEY]


@main.command(hidden=True)
@env_file_option
def drain(env_file: Path | None) -> None:
    """Let running tasks end while no other starts. `rotate` uses it."""
    loaded = load_settings(ComponentSettings, env_file)
    log.configure()
    from airflow_host import draining  # noqa: PLC0415 (takes half a second)
    from airflow_host.migrate import database_engine  # noqa: PLC0415
    from airflow_host.serve import prepare  # noqa: PLC0415

    with database_engine(prepare(loaded)) as engine:
        draining.drain(
            loaded.settings.airflow_home, engine, lambda line: click.echo(line, err=True)
        )


@main.command(hidden=True)
@env_file_option
def encrypt_anew(env_file: Path | None) -> None:
    """Encrypt all values in the database with the first Fernet key. `rotate` uses it."""
    loaded = load_settings(ComponentSettings, env_file)
    log.configure()
    from airflow_host.serve import prepare  # noqa: PLC0415

    environment = {**prepare(loaded), "AIRFLOW__LOGGING__LOGGING_LEVEL": "WARNING"}
    command = [sys.executable, "-m", "airflow", "rotate-fernet-key"]
    done = subprocess.run(command, env=environment, stdout=sys.stderr, check=False)
    if done.returncode:
        raise HostError(
            "the values could not be encrypted anew: what went wrong is above; all can be read as"
            " before"
        )


add_users_command(main)
add_common_commands(main, DEFINITION)

if __name__ == "__main__":
    main()
