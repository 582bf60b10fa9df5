"""Tripod on the hosts of a lab, put there as an operator does it on servers."""

import json
import re
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import httpx

from dev_hosts.pexes import Pexes
from dev_hosts.progress import Progress
from lab.client import API_KEY_FILE, connect, key_headers
from lab.deadline import wait_for
from lab.errors import DownError
from lab.host import LabHost
from lab.lab import Lab

READY_SECONDS = 600.0
"""How long a host may take to start and to answer; a first start makes its database."""

_PASSWORD = "AIRFLOW_PASSWORD"  # noqa: S105
_PUBLIC_KEY = "/etc/api-host/airflow.pub"
_MLFLOW_PASSWORD = "MLFLOW_TRACKING_PASSWORD"  # noqa: S105
_MLFLOW_ADMIN_PASSWORD = "MLFLOW_AUTH_ADMIN_PASSWORD"  # noqa: S105
_USERS = ("mlflow-host", "users")
_EVERYWHERE = "0.0.0.0"  # noqa: S104


@dataclass(frozen=True)
class Server:
    """What is different on each server.

    `product`: the name of its command, its folders and its units.
    `unit`: what starts all of it.
    `port`: where it listens.
    `health`: what answers 200 there when it is well.
    `settings`: what its env file must say, so that the three reach each other.
    """

    product: str
    unit: str
    port: int
    health: str
    settings: Mapping[str, str]


SERVERS = {
    "mlflow": Server(
        "mlflow-host",
        "mlflow-host.service",
        5000,
        "/health",
        {"MLFLOW_HOST": _EVERYWHERE, "MLFLOW_PUBLIC_URL": "http://mlflow:5000"},
    ),
    "airflow": Server(
        "airflow-host",
        "airflow-host.target",
        8080,
        "/api/v1/health",
        {
            "AIRFLOW__API__HOST": _EVERYWHERE,
            "AIRFLOW_PUBLIC_URL": "http://airflow:8080",
            "MLFLOW_TRACKING_URI": "http://mlflow:5000",
            "API_SERVER_URL": "http://api:8000",
        },
    ),
    "api": Server(
        "api-host",
        "api-host.service",
        8000,
        "/livez",
        {
            "API_HOST": _EVERYWHERE,
            "MLFLOW_TRACKING_URI": "http://mlflow:5000",
            "AIRFLOW_BASE_URL": "http://airflow:8080",
            "AIRFLOW_USERNAME": "api",
            # All clients of a test are one caller.
            "API_RATE_REQUESTS": "100000",
        },
    ),
}
"""By the name of the host."""


class Deployment:
    """The three servers of a lab that is up.

    `lab`: has hosts that are called as `SERVERS` says.
    `pexes`: what is installed.
    `progress`: is told each step with its time.
    """

    def __init__(self, lab: Lab, pexes: Pexes, progress: Progress) -> None:
        self.lab = lab
        self.pexes = pexes
        self._progress = progress

    @property
    def logs(self) -> str:
        """Where to read what went wrong."""
        return "'./lab shell HOST journalctl' of each host"

    @property
    def credentials(self) -> tuple[str, str]:
        """The user and the password for Airflow."""
        return "airflow", self.lab["airflow"].read(_credential("airflow")).strip()

    def pex(self, name: str) -> Path:
        """The PEX file of a host."""
        path: Path = getattr(self.pexes, name)
        return path

    def put_in_place(self) -> None:
        """All of it: install, configure, start, and wait until all are ready."""
        self._each("copied {}'s PEX", self.copy)
        self._each("installed {}", self.install)
        self.configure()
        self._each("started {}", self.start)
        self._each("{} is ready", self.wait_until_ready)

    def copy(self, name: str) -> str:
        """Copies a host's PEX to it, and returns where it is there."""
        path = f"/root/{self.pex(name).name}"
        self.lab[name].put(self.pex(name), path)
        return path

    def install(self, name: str) -> str:
        """Runs the `install` of the PEX that was copied, and returns what it said."""
        return self.lab[name].run("python3", f"/root/{self.pex(name).name}", "install").stdout

    def configure(self) -> None:
        """Writes env files by which the three reach each other, and gives them what they show."""
        for name, server in SERVERS.items():
            set_variables(self.lab[name], f"/etc/{server.product}/env", server.settings)
        password = self.lab["airflow"].read(_credential("airflow", "AIRFLOW_API_PASSWORD"))
        self.lab["api"].write(_credential("api"), password, mode="600")
        self.copy_signing_key()
        self.give_mlflow_accounts()
        self.make_key()

    def copy_signing_key(self) -> None:
        """Has the API serve only the models that the Airflow host has signed."""
        key = self.lab["airflow"].run("airflow-host", "signing-key").stdout
        self.lab["api"].write(_PUBLIC_KEY, key, mode="644")
        set_variables(self.lab["api"], "/etc/api-host/env", {"MODEL_PUBLIC_KEYS": _PUBLIC_KEY})

    def make_key(self) -> None:
        """Makes a key for the clients of the API, which may do everything."""
        command = "api-host keys revoke lab || true; umask 077; api-host keys add lab"
        access = "--access predict --access train --access operate"
        self.lab["api"].shell(f"{command} {access} > {API_KEY_FILE}")

    def give_mlflow_accounts(self) -> None:
        """Makes the accounts that the other hosts have in MLflow, and puts them in place."""
        mlflow = self.lab["mlflow"]
        there = {user["name"] for user in json.loads(mlflow.run(*_USERS, "list", "--json").stdout)}
        for name in ("airflow", "api"):
            command = ("password", name) if name in there else ("add-service", name)
            password = mlflow.run(*_USERS, *command).stdout.strip()
            self.lab[name].write(_credential(name, _MLFLOW_PASSWORD), password, mode="600")

    def start(self, name: str) -> None:
        """Enables and starts a host."""
        self.lab[name].systemctl("enable", "--now", SERVERS[name].unit)

    def is_ready(self, name: str) -> bool:
        """Whether a host answers that it is well."""
        try:
            with self.connect(name, timeout=5) as client:
                return client.get(SERVERS[name].health).is_success
        except httpx.TransportError:
            return False

    def wait_until_ready(self, name: str, seconds: float = READY_SECONDS) -> None:
        """Waits until a host answers that it is well."""
        wait_for(lambda: self.is_ready(name), seconds, f"the start of {SERVERS[name].unit}")

    def check_running(self) -> None:
        """Raises `DownError` if one of the hosts is off."""
        for name in SERVERS:
            if not self.lab[name].is_on:
                raise DownError(f"{name} is off: boot it first")

    def connect(self, name: str, *, timeout: float = 30.0) -> httpx.Client:
        """A client of a host, in the lab's network."""
        headers = key_headers(self.lab) if name == "api" else None
        base_url = self.lab[name].url(SERVERS[name].port)
        return connect(
            self.lab, base_url, auth=self.account(name), headers=headers, timeout=timeout
        )

    def account(self, name: str) -> httpx.BasicAuth | None:
        """Who may do everything on a host."""
        if name == "airflow":
            return httpx.BasicAuth(*self.credentials)
        if name == "mlflow":
            path = _credential(name, _MLFLOW_ADMIN_PASSWORD)
            return httpx.BasicAuth("admin", self.lab[name].read(path).strip())
        return None

    def _each(self, done: str, do: Callable[[str], object]) -> None:
        def step(name: str) -> None:
            with self._progress.step(done.format(name)):
                do(name)

        with ThreadPoolExecutor(len(SERVERS)) as pool:
            for _ in pool.map(step, SERVERS):
                pass


def set_variables(host: LabHost, path: str, values: Mapping[str, str]) -> None:
    """Sets variables in an env file on a host, whose owner and mode it keeps."""
    text = with_variables(host.read(path), values)
    host.run("sh", "-c", 'cat > "$1"', "sh", path, stdin=text)


def with_variables(text: str, values: Mapping[str, str]) -> str:
    """The text of an env file with other values, each in its line if it has one already."""
    for name, value in values.items():
        place = re.search(rf"^#?{re.escape(name)}=.*$", text, flags=re.MULTILINE)
        before, after = (
            (text[: place.start()], text[place.end() :]) if place else (_whole_lines(text), "\n")
        )
        text = f"{before}{name}={value}{after}"
    return text


def _whole_lines(text: str) -> str:
    return text if text.endswith("\n") or not text else f"{text}\n"


def _credential(name: str, variable: str = _PASSWORD) -> str:
    return f"/etc/{SERVERS[name].product}/credentials/{variable}"
