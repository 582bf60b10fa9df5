"""Attacks on the API of the lab, under its real unit, by somebody who has a key."""

import json
import socket
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import httpx
import pytest

from lab.client import connect, key_headers
from lab.deadline import wait_for
from lab.deployment import SERVERS, Deployment
from lab.namespaces import inside_network
from tests.attacks import installed, smuggling
from tests.attacks.honest import Honest, predicting
from tests.attacks.installed import ATTACKS, PREDICT, Target
from tests.attacks.smuggling import SECRET, TRICKS
from tests.attacks.table import Row, printed

HOST = "api"
PORT = SERVERS[HOST].port
UNIT = SERVERS[HOST].unit
PATIENCE_SECONDS = 60.0
LOG_SECONDS = 10.0

SLOW: dict[str, Callable[[Target, socket.socket], None]] = {
    "headers that nobody ends": installed.slowly,
    "a body that nobody ends": installed.half_a_body,
}


@dataclass(frozen=True)
class Installed:
    """The API, as clients in the lab's network reach it.

    `shown`: the line of a request's head that has the key.
    """

    deployment: Deployment
    shown: bytes
    name: str = HOST

    def connect(self) -> socket.socket:
        lab = self.deployment.lab
        with inside_network(lab.init):
            return socket.create_connection((lab[HOST].address, PORT), PATIENCE_SECONDS)

    def client(self) -> httpx.Client:
        lab = self.deployment.lab
        url = f"http://{HOST}:{PORT}"
        return connect(lab, url, headers=key_headers(lab), timeout=PATIENCE_SECONDS)

    def process(self) -> str:
        """The unit's own, and how often systemd has started it anew."""
        host = self.deployment.lab[HOST]
        return host.systemctl("show", "--property=MainPID,NRestarts", UNIT)

    def asked_for(self, path: str) -> int:
        """How many requests for a path are in the journal."""
        look = ("journalctl", f"--unit={UNIT}", "--output=json", f"PATH={path}")
        lines = self.deployment.lab[HOST].run(*look).stdout.splitlines()
        return sum(json.loads(line)["PATH"] == path for line in lines)


@pytest.fixture(scope="module")
def target(deployment: Deployment) -> Iterator[Installed]:
    """The API; it must end as the process that it was."""
    ((name, key),) = key_headers(deployment.lab).items()
    target = Installed(deployment, f"{name}: {key}\r\n".encode())
    before = target.process()
    yield target
    assert target.process() == before


@pytest.fixture(scope="module")
def asked_before(target: Installed) -> int:
    """How often somebody asked, before the tricks, for what they hide."""
    return target.asked_for(SECRET)


@pytest.fixture(scope="module")
def honest(target: Installed) -> Iterator[Honest]:
    with target.client() as client:
        rows = client.get("/v1/models/iris").json()["example"]
        with predicting(client, PREDICT, {"rows": rows}) as honest:
            yield honest


@pytest.fixture(scope="module")
def table(pytestconfig: pytest.Config) -> Iterator[list[Row]]:
    attacks = [*ATTACKS, *SLOW, *TRICKS]
    with printed("On what is installed, under its unit", attacks, pytestconfig) as rows:
        yield rows


@pytest.mark.parametrize("name", ATTACKS)
def test_an_attack_is_refused_and_others_are_served(
    target: Installed, honest: Honest, table: list[Row], name: str
) -> None:
    start = time.monotonic()
    happened = ATTACKS[name](target)
    table.append(Row(name, happened, honest.saw(start)))


@pytest.mark.parametrize("name", SLOW)
def test_who_does_not_go_on_is_cut_off(
    target: Installed, honest: Honest, table: list[Row], name: str
) -> None:
    start = time.monotonic()
    with target.connect() as connection:
        SLOW[name](target, connection)
        while connection.recv(65536):  # It may be told why.
            pass
    seconds = time.monotonic() - start
    table.append(Row(name, f"cut off after {seconds:.1f} s", honest.saw(start)))


@pytest.mark.parametrize("name", TRICKS)
@pytest.mark.usefixtures("asked_before")
def test_no_request_hides_another(
    target: Installed, honest: Honest, table: list[Row], name: str
) -> None:
    start = time.monotonic()
    with target.connect() as connection:
        request = TRICKS[name].request(target.name, target.shown)
        statuses = smuggling.sent(connection, request)
    table.append(Row(name, smuggling.told(statuses), honest.saw(start)))


def test_nothing_that_was_hidden_was_asked_for(target: Installed, asked_before: int) -> None:
    with target.client() as client:
        client.post(SECRET, json={}).raise_for_status()
    # It comes after all that the tricks can have left there.
    wait_for(
        lambda: target.asked_for(SECRET) > asked_before, LOG_SECONDS, "a request in the journal"
    )
    assert target.asked_for(SECRET) == asked_before + 1
