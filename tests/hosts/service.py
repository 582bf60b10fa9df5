"""A service of the lab, under its real unit, as clients in the lab's network reach it."""

import json
import socket
from base64 import b64encode
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import TypeVar

import httpx

from lab.client import connect
from lab.deadline import wait_for
from lab.deployment import SERVERS, Deployment
from lab.lab import Lab
from lab.namespaces import inside_network

KEY = "attacker"
LOG_SECONDS = 10.0
PATIENCE_SECONDS = 60.0


@dataclass(frozen=True)
class Service:
    """What is attacked.

    `name`: of the host.
    `unit`: what runs it.
    `port`: where it listens.
    `task`, `page`: what it is asked for.
    `shown`: the headers that say who asks.
    """

    deployment: Deployment
    name: str
    unit: str
    port: int
    task: str
    page: str
    shown: Mapping[str, str] = field(repr=False)

    @property
    def lab(self) -> Lab:
        """Where it is."""
        return self.deployment.lab

    def connect(self) -> socket.socket:
        """A connection in the lab's network."""
        with inside_network(self.lab.init):
            address = self.lab[self.name].address, self.port
            return socket.create_connection(address, PATIENCE_SECONDS)

    def client(self) -> httpx.Client:
        """A client that shows who asks."""
        url = f"http://{self.name}:{self.port}"
        return connect(self.lab, url, headers=self.shown, timeout=PATIENCE_SECONDS)

    def process(self) -> str:
        """The unit's own, and how often systemd has started it anew."""
        return self.lab[self.name].systemctl("show", "--property=MainPID,NRestarts", self.unit)

    def asked_for(self, path: str) -> int:
        """How many requests for a path are in the journal."""
        look = ("journalctl", f"--unit={self.unit}", "--output=json")
        entries = map(json.loads, self.lab[self.name].run(*look).stdout.splitlines())
        return sum(path in (entry.get("PATH"), _path(entry["MESSAGE"])) for entry in entries)


Attacked = TypeVar("Attacked", bound=Service)


@contextmanager
def enduring(target: Attacked) -> Iterator[Attacked]:
    """The target, which must end as the process that it was."""
    before = target.process()
    yield target
    assert target.process() == before


def asked_since(target: Service, path: str, before: int) -> int:
    """How many requests for a path are in the journal since there were so many."""
    with target.client() as client:
        client.post(path, json={})
    # It comes after all others.
    wait_for(lambda: target.asked_for(path) > before, LOG_SECONDS, "a request in the journal")
    return target.asked_for(path) - before - 1


@contextmanager
def key_of_its_own(deployment: Deployment) -> Iterator[dict[str, str]]:
    """A key of the API that nobody else shows, until the block ends."""
    host = deployment.lab["api"]
    access = ("--access", "predict", "--access", "operate")
    key = host.run("api-host", "keys", "add", KEY, *access).stdout.strip()
    with connect(deployment.lab, f"http://api:{SERVERS['api'].port}") as client:
        headers = {"X-API-Key": key}
        wait_for(
            lambda: client.get("/v1/models", headers=headers).is_success, LOG_SECONDS, "a new key"
        )
        try:
            yield headers
        finally:
            host.run("api-host", "keys", "revoke", KEY)


def basic(name: str, password: str) -> dict[str, str]:
    """What an account shows."""
    return {"Authorization": f"Basic {b64encode(f'{name}:{password}'.encode()).decode()}"}


def _path(message: object) -> object:
    """That of a line of a log in JSON."""
    try:
        return json.loads(str(message)).get("path")
    except (ValueError, AttributeError):
        return None
