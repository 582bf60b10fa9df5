"""A host that asks for accounts, with one account of each role."""

import json
import os
import subprocess
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import httpx
import mlflow
import pytest
from mlflow import MlflowClient

from hostkit.settings import load
from mlflow_host.accounts.operations import Users
from mlflow_host.settings import MlflowSettings
from tests.mlflow_host.host import Host, start_host

PASSWORD = "twelve characters and more"
ACCOUNTS = {"ann": "writer", "rob": "reader", "airflow": "airflow", "metrics": "metrics"}


@dataclass(frozen=True)
class Protected:
    """The host, and the passwords of its accounts by name."""

    host: Host
    passwords: Mapping[str, str]

    def client(self, name: str) -> httpx.Client:
        """Sends requests as an account does."""
        return httpx.Client(base_url=self.host.url, auth=(name, self.passwords[name]), timeout=120)

    @contextmanager
    def mlflow(self, name: str) -> Iterator[MlflowClient]:
        """MLflow's own client, which takes its account from the environment."""
        with pytest.MonkeyPatch.context() as patch:
            patch.setenv("MLFLOW_TRACKING_USERNAME", name)
            patch.setenv("MLFLOW_TRACKING_PASSWORD", self.passwords[name])
            mlflow.set_tracking_uri(self.host.url)
            mlflow.set_registry_uri(self.host.url)
            yield MlflowClient()

    def users(self) -> Users:
        """The accounts, as an operator changes them while the server runs."""
        return Users(load(MlflowSettings, env_file=self.host.folder / "env").settings)


def run(folder: Path, *command: str, stdin: str = "") -> subprocess.CompletedProcess[str]:
    """Runs a command of the host with the env file of a folder."""
    path = os.pathsep.join(map(os.path.abspath, sys.path))
    ended = subprocess.run(
        [sys.executable, "-m", "mlflow_host.cli", *command, "--env-file", str(folder / "env")],
        env={"PATH": os.environ["PATH"], "PYTHONPATH": path},
        cwd=folder,
        input=stdin,
        capture_output=True,
        text=True,
        check=False,
    )
    assert ended.returncode == 0, ended.stderr
    return ended


def start_protected(folder: Path, **variables: str) -> Protected:
    """Starts a host whose other accounts an operator made before, and that of the API by command.

    It is reached by the name mlflow, so that nothing else needs to be said.
    """
    host = start_host(
        folder, "serve", MLFLOW_PUBLIC_URL="http://mlflow:5000", MLFLOW_AUTH="", **variables
    )
    try:
        host.wait_until_healthy()
        return _with_accounts(host)
    except BaseException:
        host.process.kill()
        host.process.wait()
        raise


def _with_accounts(host: Host) -> Protected:
    folder = host.folder
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("MLFLOW_AUTH_CONFIG_PATH", "")
        protected = Protected(host, {})
        users = protected.users()
        for name, role in ACCOUNTS.items():
            users.add(name, role, PASSWORD)
    made = run(folder, "users", "add-service", "api")
    admin = (folder / "state/secrets/MLFLOW_AUTH_ADMIN_PASSWORD").read_text()
    passwords = {"api": made.stdout.strip(), "admin": admin, **dict.fromkeys(ACCOUNTS, PASSWORD)}
    return Protected(host, passwords)


def names(folder: Path) -> dict[str, list[str]]:
    """The accounts and their roles, as the command lists them."""
    found = json.loads(run(folder, "users", "list", "--json").stdout)
    return {user["name"]: user["roles"] for user in found}
