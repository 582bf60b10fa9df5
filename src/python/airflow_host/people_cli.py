"""`users`: people's users in Airflow."""

import json
import re
import secrets
import subprocess
import sys
from pathlib import Path
from typing import Any

import click

from airflow_host.definition import DEFINITION
from airflow_host.settings import CHARACTERS_OF_A_STRONG_PASSWORD, AirflowSettings
from hostkit import audit
from hostkit.errors import HostError
from hostkit.options import env_file_option, json_option, load_settings
from hostkit.server import systemd
from hostkit.server.layout import Layout

ROLES = ("viewer", "user", "op", "admin")
"""Airflow's own, in its order: each may do more than the one before."""

MOST_OF_A_PASSWORD = 1024
_GOOD_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.@-]{0,63}")

_password_option = click.option(
    "--password-stdin", is_flag=True, help="Read the password instead of making one."
)


def add_users_command(group: click.Group) -> None:
    """Gives the host `users`."""

    @group.group()
    def users() -> None:
        """People who log in to Airflow."""

    @users.command()
    @click.argument("name")
    @click.option("--role", type=click.Choice(ROLES), required=True)
    @_password_option
    @env_file_option
    def add(name: str, role: str, password_stdin: bool, env_file: Path | None) -> None:
        """Add a user, and print its password: once."""
        if not _GOOD_NAME.fullmatch(name):
            raise HostError(f"{name!r} is no name for a user: letters, digits and _ . @ - are good")
        _set_password("add", name, password_stdin, env_file, role=role.capitalize())

    @users.command()
    @click.argument("name")
    @_password_option
    @env_file_option
    def password(name: str, password_stdin: bool, env_file: Path | None) -> None:
        """Give a user another password, and print it; ends its sessions."""
        _set_password("password", name, password_stdin, env_file)

    @users.command()
    @click.argument("name")
    @env_file_option
    def remove(name: str, env_file: Path | None) -> None:
        """Remove a user."""
        _order(env_file, do="remove", name=name)

    @users.command(name="list")
    @json_option
    @env_file_option
    def show(as_json: bool, env_file: Path | None) -> None:
        """Show all users and their roles."""
        found = _order(env_file, do="list")
        if as_json:
            click.echo(json.dumps(found, indent=2))
            return
        for user in found:
            kept = ", kept as the settings say" if user["kept_by_settings"] else ""
            last = user["last_login"] or "never"
            click.echo(f"{user['name']}: {', '.join(user['roles'])}; last login {last}{kept}")

    @group.command(name="carry-out", hidden=True)
    @env_file_option
    def carry_out(env_file: Path | None) -> None:
        """Do what standard input says with the users. `users` uses it."""
        click.echo(json.dumps(_carry_out(sys.stdin.read(), env_file)))


def _set_password(do: str, name: str, given: bool, env_file: Path | None, role: str = "") -> None:
    password = _given() if given else secrets.token_urlsafe(18)
    if len(password) < CHARACTERS_OF_A_STRONG_PASSWORD or password.casefold() == name.casefold():
        raise HostError(
            f"that password is weak: use {CHARACTERS_OF_A_STRONG_PASSWORD} characters or more"
        )
    _order(env_file, do=do, name=name, role=role, password=password)
    if not given:
        click.echo(password)


def _given() -> str:
    return sys.stdin.read(MOST_OF_A_PASSWORD).rstrip("\n")


def _order(env_file: Path | None, *, do: str, name: str = "", **more: str) -> Any:
    """What came of an order; as the service where root gives it on a server."""
    order = json.dumps({"do": do, "name": name, **more})
    layout = Layout(DEFINITION.name)
    if env_file is None and systemd.is_for_the_service(layout):
        done = systemd.run_as_service(layout, ["carry-out"], capture=True, stdin=order)
        if done.returncode:
            raise HostError(done.stderr.strip().removeprefix("error: "))
        answer = json.loads(done.stdout)
    else:
        answer = _carry_out(order, env_file)
    refused = answer.get("refused") if isinstance(answer, dict) else None
    if do != "list":
        allowed = refused is None
        audit.note_command(AirflowSettings.host_name, f"user.{do}", f"user:{name}", allowed=allowed)
    if refused:
        raise HostError(refused)
    return answer


def _carry_out(order: str, env_file: Path | None) -> Any:
    loaded = load_settings(AirflowSettings, env_file)
    from airflow_host.serve import prepare  # noqa: PLC0415 (takes half a second)

    ours = (loaded.settings.airflow_username, loaded.settings.airflow_api_username)
    done = subprocess.run(
        [sys.executable, "-m", "airflow_host.people"],
        input=json.dumps({**json.loads(order), "ours": ours}),
        env={**prepare(loaded), "AIRFLOW__LOGGING__LOGGING_LEVEL": "ERROR"},
        stdout=subprocess.PIPE,
        text=True,
        check=False,
    )
    if done.returncode:
        raise HostError("Airflow's users cannot be changed: what went wrong is above")
    return json.loads(done.stdout)
