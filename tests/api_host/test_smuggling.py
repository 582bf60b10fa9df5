"""Requests that hide others, or mean another path than they say: directly, and through nginx."""

import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import unquote

import httpx
import pytest
import stamina

from api_host import cli
from tests.api_host.test_connections import Server, attacked
from tests.api_host.test_serve import ROW, free_port
from tests.attacks import nginx, smuggling
from tests.attacks.honest import Honest
from tests.attacks.nginx import Front
from tests.attacks.smuggling import SECRET, TRICKS
from tests.attacks.table import Row, printed

PREDICT = "/v1/models/iris/predict"
CONFIGURE = (sys.executable, "-c", f"from {cli.__name__} import main; main()", "config", "proxy")


@pytest.fixture(scope="module")
def server(models: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    folder = tmp_path_factory.mktemp("smuggled")
    with attacked(
        models, folder, API_READ_TIMEOUT_SECONDS="1", API_IDLE_TIMEOUT_SECONDS="2"
    ) as api:
        yield api


@pytest.fixture(scope="module")
def front(server: Server, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Front]:
    folder = tmp_path_factory.mktemp("nginx")
    port = free_port()
    chain, key = nginx.certificate(folder)
    environment = {
        **os.environ,
        "PYTHONPATH": os.pathsep.join(sys.path),
        "API_PORT": str(server.port),
        "API_PUBLIC_URL": f"https://{nginx.NAME}:{port}",
    }
    command = [*CONFIGURE, "nginx", "--certificate", str(chain), "--key", str(key)]
    rendered = subprocess.run(command, env=environment, check=True, capture_output=True, text=True)
    with nginx.in_front(folder, rendered.stdout, port, free_port()) as front:
        yield front


@pytest.fixture(scope="module")
def honest(server: Server) -> Iterator[Honest]:
    with server.honest() as honest:
        yield honest


@pytest.fixture(scope="module")
def direct_table(pytestconfig: pytest.Config) -> Iterator[list[Row]]:
    with printed("A request in another", TRICKS, pytestconfig) as rows:
        yield rows


@pytest.fixture(scope="module")
def nginx_table(pytestconfig: pytest.Config) -> Iterator[list[Row]]:
    with printed("A request in another, through nginx", TRICKS, pytestconfig) as rows:
        yield rows


def logged(server: Server, request_id: str | None = None) -> list[tuple[str, str]]:
    """The method and the path of the requests that the API answered, by the id that they had."""
    lines = map(json.loads, server.log.read_text().splitlines())
    return [
        (line["method"], line["path"])
        for line in lines
        if line["event"] == "request" and request_id in (None, line["request_id"])
    ]


def secrets_of(requests: list[tuple[str, str]]) -> int:
    """How often what is hidden was asked for."""
    return requests.count(("POST", SECRET))


@pytest.mark.parametrize("name", TRICKS)
def test_a_request_in_another_is_not_answered(
    server: Server, honest: Honest, direct_table: list[Row], name: str
) -> None:
    start, secrets = time.monotonic(), secrets_of(logged(server))
    with server.connect() as connection:
        statuses = smuggling.sent(connection, TRICKS[name].request(server))
    assert len(statuses) <= 1
    assert all(status >= 400 for status in statuses)
    seen = honest.saw(start)
    assert secrets_of(logged(server)) == secrets
    direct_table.append(Row(name, smuggling.told(statuses), seen))


@pytest.mark.parametrize("name", TRICKS)
def test_nginx_and_the_api_see_as_many_requests(
    server: Server, front: Front, honest: Honest, nginx_table: list[Row], name: str
) -> None:
    start = time.monotonic()
    before = secrets_of(logged(server)), secrets_of(front.passed_on())
    with front.connect() as connection:
        statuses = smuggling.sent(connection, TRICKS[name].request(front))
    seen = honest.saw(start)
    for attempt in stamina.retry_context(on=AssertionError, attempts=None, timeout=30):
        with attempt:
            by_us = secrets_of(logged(server)) - before[0]
            by_nginx = secrets_of(front.passed_on()) - before[1]
            assert by_us == by_nginx == max(len(statuses) - 1, 0)
    assert all(status >= 400 for status in statuses[:1])
    nginx_table.append(Row(name, smuggling.told(statuses), seen))


TARGETS = (
    "//version",
    "/version/",
    "/./version",
    "/x/../version",
    "/%2e%2e/version",
    "/x/%2e%2e/version",
    "/x/..%2fversion",
    "/x/..;/version",
    "/version;a=b",
    "/version%00",
    "/version%0d%0aX:%20y",
    "/version%20",
    "/version%3fa=b",
    "/version%23a",
    "/version?a=b/../../v1",
    "/%76ersion",
    "/%2576ersion",
    "/VERSION",
    "/version\\",
    "/v1/models/iris%2fpredict",
    "/v1/models/iris/..%2f..%2f..%2fversion",
    "/v1/models/../models/iris",
    "/v1/models/..%2f..%2fversion",
    "/v1/models/x%2f..%2firis",
    "/v1/models/%00iris",
    "/v1/models/iris%00",
    "/v1/models/%c0%afiris",
    "/v1/models/%ed%a0%80",
    "/v1/models/%ff",
    "/v1/models/iri%EF%BD%93",
    "/v1/models/%D1%96ris",
    "/v1/models/ir%C4%B1s",
    "/v1/models/iris%CC%81",
    "/v1/models/%E2%80%8Biris",
    "/v1/models/iris%0a",
    "/v2/models/iris/versions/%D9%A1",
    "http://other/version",
)
WELL = {"/version?a=b/../../v1", "/%76ersion"}
"""These say /version, also by what HTTP means: nothing is refused that is right."""


def raw_get(target: str, host: str, request_id: str) -> bytes:
    lines = [f"GET {target} HTTP/1.1", f"Host: {host}", f"X-Request-ID: {request_id}"]
    return "\r\n".join([*lines, "Connection: close", "", ""]).encode("latin-1")


@pytest.mark.parametrize("target", TARGETS)
def test_a_path_is_what_it_says_or_nothing_and_nginx_reads_the_same(
    server: Server, front: Front, target: str
) -> None:
    request_id = f"path-{TARGETS.index(target)}"
    with server.connect() as connection:
        directly = smuggling.sent(connection, raw_get(target, "api", "direct"))
    assert directly in ([404], [405]) or (target in WELL and directly == [200])
    with front.connect() as connection:
        statuses = smuggling.sent(connection, raw_get(target, nginx.NAME, request_id))
    # nginx refuses some by itself; what it passes on, both must have read alike.
    assert statuses in (directly, [400], [421])
    for attempt in stamina.retry_context(on=AssertionError, attempts=None, timeout=30):
        with attempt:
            passed_on = [
                (method, unquote(each.partition("?")[0]))
                for method, each in front.passed_on(request_id)
            ]
            assert passed_on == logged(server, request_id)
            assert len(passed_on) == (statuses == directly)


OVERRIDES = {
    "X-HTTP-Method-Override": "POST",
    "X-HTTP-Method": "POST",
    "X-Method-Override": "POST",
    "X-Original-URL": "/v2/repository/index",
    "X-Rewrite-URL": "/v2/repository/index",
    "X-Forwarded-Host": "evil",
    "X-Forwarded-Proto": "gopher",
    "X-Forwarded-For": "127.0.0.1, ::1",
    "X-Forwarded-Prefix": "/v2",
    "Forwarded": "for=127.0.0.1;host=evil;proto=gopher",
    "X-Real-IP": "127.0.0.1",
    "Front-End-Https": "on",
}


def clients(server: Server, front: Front) -> Iterator[httpx.Client]:
    with httpx.Client(base_url=f"http://127.0.0.1:{server.port}", timeout=30) as direct:
        yield direct
    with httpx.Client(base_url=front.url, timeout=30, verify=front.trust()) as proxied:
        yield proxied


def test_no_header_changes_what_is_asked(server: Server, front: Front) -> None:
    secrets = secrets_of(logged(server))
    for client in clients(server, front):
        plain = client.get(PREDICT)
        for name, value in OVERRIDES.items():
            answer = client.get(PREDICT, headers={name: value})
            assert answer.status_code == plain.status_code == 405
            assert answer.json()["detail"] == plain.json()["detail"]
            assert client.get("/", headers={name: value}).status_code == 200
    assert secrets_of(logged(server)) == secrets


STRANGE_VALUES = (
    b"\xff\xfe",
    b"\xc0\xaf",
    b"\xed\xa0\x80",
    "\u0456".encode(),
    b"a\tb",
    b"y" * 2000,
)


@pytest.mark.parametrize("value", STRANGE_VALUES)
def test_what_a_header_holds_neither_breaks_the_log_nor_comes_back(
    server: Server, value: bytes
) -> None:
    names = (b"X-Request-ID", b"Accept", b"Idempotency-Key", b"Tripod-Duplex", b"User-Agent")
    lines = b"".join(name + b": " + value + b"\r\n" for name in names)
    request = b"GET /livez HTTP/1.1\r\nHost: api\r\nConnection: close\r\n" + lines + b"\r\n"
    with server.connect() as connection:
        connection.sendall(request)
        answer = connection.makefile("rb").read()
    assert answer.startswith(b"HTTP/1.1 200")
    assert value not in answer
    assert all(isinstance(json.loads(line), dict) for line in server.log.read_text().splitlines())


STRANGE_KEYS = (
    "sepal_l\u0435ngth",
    "sepal_length\u0000",
    "\uff53epal_length",
    "sepal_length\u200b",
)


@pytest.mark.parametrize("key", STRANGE_KEYS)
def test_a_name_that_only_looks_right_is_another_name(server: Server, key: str) -> None:
    row: dict[str, Any] = dict(ROW)
    row[key] = row.pop("sepal_length")
    with httpx.Client(base_url=f"http://127.0.0.1:{server.port}", timeout=30) as client:
        answer = client.post(PREDICT, json={"rows": [row]})
    assert answer.status_code == 422
    details = [error["detail"] for error in answer.json()["errors"]]
    assert sorted(details) == ["is missing", "is not a column of this model"]
