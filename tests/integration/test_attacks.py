"""Attacks on the API from its PEX file, behind nginx and over TLS, while others are served."""

import os
import socket
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path

import httpx
import pytest

from dev_hosts.hosts import Hosts
from dev_hosts.pexes import Pexes
from tests.attacks import nginx, smuggling
from tests.attacks.honest import Honest, predicting
from tests.attacks.nginx import Front
from tests.attacks.smuggling import SECRET, TRICKS
from tests.attacks.table import Row, printed

pytestmark = pytest.mark.usefixtures("journey")

PREDICT = "/v1/models/iris/predict"
AT_ONCE = 50
DRIPS = 20


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
    with httpx.Client(
        base_url=front.url, verify=front.trust(), timeout=60, trust_env=False
    ) as client:
        yield client


@pytest.fixture(scope="module")
def honest(client: httpx.Client) -> Iterator[Honest]:
    rows = client.get("/v1/models/iris").json()["example"]
    with predicting(client, PREDICT, {"rows": rows}) as honest:
        yield honest


@pytest.fixture(scope="module")
def table(pytestconfig: pytest.Config) -> Iterator[list[Row]]:
    with printed("On what is installed", [*ATTACKS, *TRICKS], pytestconfig) as rows:
        yield rows


Attack = Callable[[Front], str]


def many(attack: Callable[[socket.socket], None]) -> Attack:
    """Many connections at a time, each of which does something and is then left alone."""

    def attacks(front: Front) -> str:
        connections = [front.connect() for _ in range(AT_ONCE)]
        for connection in connections:
            with suppress(OSError):
                attack(connection)
        for connection in connections:
            connection.close()
        return f"{AT_ONCE} connections held, and served on"

    return attacks


def slowly(connection: socket.socket) -> None:
    connection.sendall(f"POST {PREDICT} HTTP/1.1\r\nHost: {nginx.NAME}\r\n".encode())
    for _ in range(DRIPS):
        connection.sendall(b"X: y\r\n")


def half_a_body(connection: socket.socket) -> None:
    head = f"POST {PREDICT} HTTP/1.1\r\nHost: {nginx.NAME}\r\nContent-Length: 10000\r\n\r\n{{"
    connection.sendall(head.encode())


def bomb(body: bytes, **headers: str) -> Attack:
    """One body, which is refused."""

    def attack(front: Front) -> str:
        given = {"Content-Type": "application/json"}
        given |= {name.replace("_", "-"): value for name, value in headers.items()}
        with httpx.Client(verify=front.trust(), timeout=60, trust_env=False) as attacker:
            answer = attacker.post(front.url + PREDICT, content=body, headers=given)
        kind = answer.json()["type"].rpartition(":")[2]
        return f"{answer.status_code} {kind}"

    return attack


def many_headers(front: Front) -> str:
    with httpx.Client(verify=front.trust(), timeout=60, trust_env=False) as attacker:
        headers = {f"X-{index}": "y" for index in range(200)}
        answer = attacker.get(front.url + "/v1/models", headers=headers)
    return str(answer.status_code)


ATTACKS: dict[str, Attack] = {
    "headers that do not end": many(slowly),
    "half of a body": many(half_a_body),
    "nothing after the handshake": many(lambda _: None),
    "arrays in arrays": bomb(b'{"rows":' + b"[" * 10_000),
    "a zip bomb": bomb(b"\x1f\x8b" + bytes(10_000), Content_Encoding="gzip"),
    "a body that is too large": bomb(b" " * 17_000_000),
    "a string that is too long": bomb(b'{"rows":[["' + b"y" * 100_000 + b'"]]}'),
    "too many columns": bomb(b'{"rows":[[' + b"1," * 20_000 + b"1]]}"),
    "200 headers": many_headers,
}


@pytest.mark.parametrize("name", ATTACKS)
def test_an_attack_is_refused_and_others_are_served(
    front: Front, honest: Honest, table: list[Row], name: str
) -> None:
    start = time.monotonic()
    happened = ATTACKS[name](front)
    table.append(Row(name, happened, honest.saw(start)))


def secrets_of_log(log: Path) -> int:
    return log.read_text().count(f'"path":"{SECRET}"')


@pytest.mark.parametrize("name", TRICKS)
def test_no_request_hides_another(
    hosts: Hosts, front: Front, honest: Honest, table: list[Row], name: str
) -> None:
    start = time.monotonic()
    with front.connect() as connection:
        statuses = smuggling.sent(connection, TRICKS[name].request(nginx.NAME))
    table.append(Row(name, smuggling.told(statuses), honest.saw(start)))
    passed_on = front.passed_on().count(("POST", SECRET))
    assert secrets_of_log(hosts.log("api")) == passed_on
