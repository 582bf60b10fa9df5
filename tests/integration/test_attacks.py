"""Attacks on the API from its PEX file, behind nginx and over TLS, while others are served."""

import os
import socket
import subprocess
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest
import stamina

from dev_hosts.hosts import Hosts
from dev_hosts.pexes import Pexes
from tests.attacks import nginx
from tests.attacks.honest import Honest, predicting
from tests.attacks.installed import ATTACKS
from tests.attacks.nginx import Front
from tests.attacks.smuggling import SECRET, TRICKS, tried
from tests.attacks.table import Row, printed, witnessed

pytestmark = pytest.mark.usefixtures("journey")

LOG_SECONDS = 30.0


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port: int = listener.getsockname()[1]
        return port


@pytest.fixture(scope="module")
def front(hosts: Hosts, pexes: Pexes, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Front]:
    folder = tmp_path_factory.mktemp("nginx")
    port = free_port()
    chain, key = nginx.certificate(folder)
    command = [str(pexes.api), "config", "proxy", "nginx", "--certificate", str(chain)]
    command += ["--key", str(key), "--env-file", str(hosts.state / "api" / "env")]
    environment = {**os.environ, "API_PUBLIC_URL": f"https://{nginx.NAME}:{port}"}
    rendered = subprocess.run(command, env=environment, check=True, capture_output=True, text=True)
    with nginx.in_front(folder, rendered.stdout, port, free_port()) as front:
        yield front


@pytest.fixture(scope="module")
def client(front: Front) -> Iterator[httpx.Client]:
    with front.client() as client:
        yield client


@pytest.fixture(scope="module")
def honest(front: Front, client: httpx.Client) -> Iterator[Honest]:
    rows = client.get("/v1/models/iris").json()["example"]
    with predicting(client, front.task, {"rows": rows}) as honest:
        yield honest


@pytest.fixture(scope="module")
def table(pytestconfig: pytest.Config) -> Iterator[list[Row]]:
    with printed("On what is installed", [*ATTACKS, *TRICKS], pytestconfig) as rows:
        yield rows


@pytest.mark.parametrize("name", ATTACKS)
def test_an_attack_is_refused_and_others_are_served(
    front: Front, honest: Honest, table: list[Row], name: str
) -> None:
    table.append(witnessed(name, ATTACKS[name], front, honest))


def secrets_of_log(log: Path) -> int:
    return log.read_text().count(f'"path":"{SECRET}"')


@pytest.mark.parametrize("name", TRICKS)
def test_no_request_hides_another(
    hosts: Hosts, front: Front, honest: Honest, table: list[Row], name: str
) -> None:
    table.append(witnessed(name, tried(TRICKS[name]), front, honest))
    # nginx writes a line when it is done with a request, which may be after the answer.
    for attempt in stamina.retry_context(on=AssertionError, attempts=None, timeout=LOG_SECONDS):
        with attempt:
            passed_on = front.passed_on().count(("POST", SECRET))
            assert secrets_of_log(hosts.log("api")) == passed_on
