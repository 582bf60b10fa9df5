"""`users`: the accounts of people and of the other hosts."""

import dataclasses
import json
import os
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import click

from hostkit import audit
from hostkit.errors import HostError
from hostkit.options import env_file_option, json_option
from hostkit.server import systemd
from hostkit.server.layout import Layout
from mlflow_host.accounts.roles import ADMIN, ROLES
from mlflow_host.accounts.secret import new_secret
from mlflow_host.settings import MlflowSettings

if TYPE_CHECKING:
    from mlflow_host.accounts.operations import Users

Prepare = Callable[[Path | None], MlflowSettings]

_SERVICES = {name: role for name, role in ROLES.items() if role.service}
_PEOPLE = (*(name for name, role in ROLES.items() if not role.service), ADMIN)

_NEXT = {
    "api": "On the API server: write it into /etc/api-host/credentials/MLFLOW_TRACKING_PASSWORD,"
    " then 'systemctl restart api-host'.",
    "airflow": "On the Airflow server: write it into"
    " /etc/airflow-host/credentials/MLFLOW_TRACKING_PASSWORD, then 'systemctl restart"
    " airflow-host.target'.",
    "metrics": "For Prometheus: basic_auth with the name metrics and this password.",
}

stdin_option = click.option(
    "--password-stdin", is_flag=True, help="Read the password from standard input."
)


def add_users_commands(group: click.Group, host: str, prepare: Prepare) -> None:
    """Gives the MLflow host `users`.

    `prepare`: reads the settings, and lets MLflow know them.
    """

    @group.group()
    def users() -> None:
        """The accounts of people and of the other hosts. The server need not run."""

    @users.command()
    @click.argument("name")
    @click.option(
        "--role", type=click.Choice(_PEOPLE), default="reader", show_default=True, help="What for."
    )
    @stdin_option
    @env_file_option
    def add(name: str, role: str, password_stdin: bool, env_file: Path | None) -> None:
        """Make an account for a person, and show its password, once."""
        arguments = ["add", name, "--role", role, *_flag(password_stdin)]
        with _change(host, env_file, "user.add", name, *arguments):
            text = _password(password_stdin)
            _add(prepare(env_file), name, role, text)
            _show(text, password_stdin)

    @users.command("add-service")
    @click.argument("service", type=click.Choice(tuple(_SERVICES)))
    @stdin_option
    @env_file_option
    def add_service(service: str, password_stdin: bool, env_file: Path | None) -> None:
        """Make the account that another host calls with, and say where its password goes."""
        arguments = ["add-service", service, *_flag(password_stdin)]
        with _change(host, env_file, "user.add", service, *arguments):
            text = _password(password_stdin)
            _add(prepare(env_file), service, service, text)
            _show(text, password_stdin)
            click.echo(_NEXT[service], err=True)

    @users.command("list")
    @json_option
    @env_file_option
    def list_(as_json: bool, env_file: Path | None) -> None:
        """All accounts, and what each may do."""
        if env_file is None:
            systemd.hand_over(host, "users", "list", *(["--json"] if as_json else []))
        from mlflow_host.accounts.operations import accounts_in  # noqa: PLC0415

        found = accounts_in(prepare(env_file).mlflow_backend_store_uri)
        if as_json:
            click.echo(json.dumps([dataclasses.asdict(user) for user in found], indent=2))
            return
        for user in found:
            click.echo(f"{user.name:24} {', '.join(user.roles) or 'what it was given by name'}")

    @users.command()
    @click.argument("name")
    @stdin_option
    @env_file_option
    def password(name: str, password_stdin: bool, env_file: Path | None) -> None:
        """Give an account another password. The old one is refused within a second."""
        with _change(
            host, env_file, "user.password", name, "password", name, *_flag(password_stdin)
        ):
            text = _password(password_stdin)
            _users(prepare(env_file)).set_password(name, text)
            _show(text, password_stdin)

    @users.command()
    @click.argument("name")
    @env_file_option
    def remove(name: str, env_file: Path | None) -> None:
        """Take an account away. It is refused within a second."""
        with _change(host, env_file, "user.remove", name, "remove", name):
            _users(prepare(env_file)).remove(name)


@contextmanager
def _change(
    host: str, env_file: Path | None, action: str, name: str, *arguments: str
) -> Iterator[None]:
    """A change, and its line in the audit, whether it came off or not.

    Root has it done by the host's own user, to whom the database belongs.
    """
    allowed = False
    try:
        layout = Layout(host)
        is_installed = Path(sys.prefix).is_relative_to(layout.product)
        if env_file is None and is_installed and systemd.is_for_the_service(layout):
            code = systemd.run_as_service(layout, ["users", *arguments]).returncode
            allowed = code == 0
            sys.exit(code)
        yield
        allowed = True
    finally:
        if not _is_handed_over():
            audit.note_command(host, action, f"user:{name}", allowed=allowed)


def _is_handed_over() -> bool:
    """Whether root's command started this one, as a service, and writes the line."""
    return "INVOCATION_ID" in os.environ and os.getppid() == 1


def _flag(password_stdin: bool) -> list[str]:
    return ["--password-stdin"] if password_stdin else []


def _password(password_stdin: bool) -> str:
    if not password_stdin:
        return new_secret()
    text = sys.stdin.readline().rstrip("\n")
    if not text:
        raise HostError("there was no password on standard input")
    return text


def _show(password: str, password_stdin: bool) -> None:
    """Shows a password that was made here; it is kept nowhere else."""
    if not password_stdin:
        click.echo(password)


def _users(settings: MlflowSettings) -> "Users":
    from mlflow_host import database  # noqa: PLC0415 (imports SQLAlchemy)
    from mlflow_host.accounts.operations import Users  # noqa: PLC0415

    uri = settings.mlflow_backend_store_uri
    database.prepare(uri)  # The tables of accounts come after the others.
    with database.explained(uri):
        return Users(settings)


def _add(settings: MlflowSettings, name: str, role: str, password: str) -> None:
    models = _users(settings).add(name, role, password)
    if models:
        click.echo(
            f"{name} may change the models that are from before there were accounts:"
            f" {', '.join(models)}.",
            err=True,
        )
