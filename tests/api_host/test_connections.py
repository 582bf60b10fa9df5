"""Clients that attack by how they speak, and not by what they say."""

import json
import socket
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from subprocess import Popen
from typing import Any, TypeAlias

import httpx
import pytest
import stamina
from h2.connection import H2Connection
from h2.events import ResponseReceived

from tests.api_host.registry_server import running
from tests.api_host.test_serve import ROW, connections_of, free_port, serving, until_well
from tests.attacks import http2
from tests.attacks.connections import cut_off
from tests.attacks.honest import Honest, predicting
from tests.attacks.stranger import drip, flood, half_close, is_cut, say
from tests.attacks.table import Row, printed, witnessed
from tests.attacks.target import Target, Words
from tests.late_bodies import begun, told_without_an_end

MEBIBYTES = 1024 * 1024

ATTACKERS_EACH = 3
MOST_CONNECTIONS = 80
MOST_SECONDS = 60

HEAD = b"POST /v1/models/iris/predict HTTP/1.1\r\nHost: api\r\nContent-Type: application/json\r\n"
GET = b"GET /openapi.json HTTP/1.1\r\nHost: api\r\n"
CHUNKED = HEAD + b"Transfer-Encoding: chunked\r\n\r\n"
UNKNOWN = HEAD.replace(b"/predict", b"/versions/99/predict")


Attacks: TypeAlias = dict[str, Words]


@dataclass(frozen=True)
class Server:
    """An API that is attacked."""

    process: Popen[bytes]
    port: int
    log: Path
    name: str = "api"
    shown: Mapping[str, str] = field(default_factory=dict)
    task: str = "/v1/models/iris/predict"
    page: str = "/openapi.json"

    def connect(self, source: str = "127.0.0.1") -> socket.socket:
        return socket.create_connection(("127.0.0.1", self.port), source_address=(source, 0))

    def client(self) -> httpx.Client:
        return httpx.Client(base_url=f"http://127.0.0.1:{self.port}", timeout=MOST_SECONDS)

    def memory(self) -> int:
        """How much of it is in use, in bytes."""
        pages = Path(f"/proc/{self.process.pid}/statm").read_text().split()[1]
        return int(pages) * 4096

    @contextmanager
    def honest(self) -> Iterator[Honest]:
        """A client of it that does nothing wrong, until the block ends."""
        with (
            self.client() as client,
            predicting(client, self.task, {"rows": [ROW]}) as honest,
        ):
            yield honest


@contextmanager
def attacked(
    models: Path, folder: Path, *, more: Mapping[str, str] | None = None, **variables: Any
) -> Iterator[Server]:
    """A server of `iris`; `more`: further models, by their names."""
    with running() as registry:
        for name, kind in {"iris": "linear", **(more or {})}.items():
            registry.promote(name, models / kind)
        port = free_port()
        with serving(registry, folder, port, **variables) as process:
            with httpx.Client(base_url=f"http://127.0.0.1:{port}") as api:
                until_well(api, process, "/readyz")
            yield Server(process, port, folder / "log")


@pytest.fixture(scope="module")
def server(models: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    with attacked(
        models,
        tmp_path_factory.mktemp("attacked"),
        API_MAX_CONNECTIONS=str(MOST_CONNECTIONS),
        API_READ_TIMEOUT_SECONDS="3",
        API_IDLE_TIMEOUT_SECONDS="12",
    ) as server:
        yield server


def read_slowly(_: Target, attacker: socket.socket) -> None:
    attacker.sendall((GET + b"\r\n") * 3000)
    while not is_cut(attacker):
        attacker.recv(1)


HTTP1: Attacks = {
    "nothing is said": lambda _, attacker: say(attacker, b""),
    "headers byte by byte": lambda _, attacker: drip(attacker, GET, b"x: " + b"y" * 10**4),
    "headers byte by byte after a request": lambda _, attacker: drip(
        attacker, GET + b"\r\n" + GET, b"x: " + b"y" * 10**4
    ),
    "a body byte by byte": lambda _, attacker: drip(
        attacker, HEAD + b"Content-Length: 10000\r\n\r\n", b" " * 10**4
    ),
    "a body that does not come": lambda _, attacker: say(
        attacker, HEAD + b"Content-Length: 10000\r\n\r\n"
    ),
    "a body that nobody reads": lambda _, attacker: flood(
        attacker, UNKNOWN + b"Content-Length: 100000000\r\n\r\n", b" " * 10**6
    ),
    "answers that are not read": lambda _, attacker: flood(attacker, b"", (GET + b"\r\n") * 100),
    "answers that are read byte by byte": read_slowly,
    "requests after the last": lambda _, attacker: flood(
        attacker, GET + b"Connection: close\r\n\r\n", (GET + b"\r\n") * 100
    ),
    "headers without end": lambda _, attacker: flood(attacker, GET, b"x: y\r\n" * 100),
    "a line without end": lambda _, attacker: flood(attacker, GET + b"x: ", b"y" * 1000),
    "chunks that are none": lambda _, attacker: flood(attacker, CHUNKED, b"garbage\r\n"),
    "an extension of a chunk without end": lambda _, attacker: flood(
        attacker, CHUNKED + b"2;", b"x" * 1000
    ),
    "trailers without end": lambda _, attacker: flood(
        attacker, CHUNKED + b"2\r\n{}\r\n0\r\n", b"x: y\r\n" * 100
    ),
    "a chunk of 16 digits": lambda _, attacker: flood(
        attacker, CHUNKED + b"fffffffffffffff0\r\n", b" " * 10**6
    ),
    "half of a request, and the end": lambda _, attacker: half_close(
        attacker, HEAD + b"Content-Length: 10000\r\n\r\n{"
    ),
    "a WebSocket": lambda _, attacker: say(
        attacker, GET + b"Upgrade: websocket\r\nConnection: Upgrade\r\n\r\n"
    ),
}

HTTP2: Attacks = http2.QUIET | http2.FLOODS


def unsent(attacker: socket.socket) -> int:
    """How many bytes the server's end of a connection holds in the kernel (proc_net_tcp)."""
    ends = [f":{end[1]:04X}" for end in (attacker.getpeername(), attacker.getsockname())]
    for line in Path("/proc/net/tcp").read_text().splitlines():
        fields = line.split()
        if fields[1].endswith(ends[0]) and fields[2].endswith(ends[1]):
            return int(fields[4].split(":")[0], 16)
    return 0


def ask_until_full(attacker: socket.socket) -> None:
    """Asks, and reads nothing, until an answer no longer comes into the kernel."""
    with suppress(AssertionError):
        while True:
            before = unsent(attacker)
            attacker.sendall(b"GET /metrics HTTP/1.1\r\nHost: api\r\n\r\n")
            for attempt in stamina.retry_context(
                on=AssertionError, attempts=None, timeout=1, wait_initial=0.002, wait_jitter=0
            ):
                with attempt:
                    assert unsent(attacker) > before


def test_who_leaves_a_little_unread_is_cut_off_too(models: Path, tmp_path: Path) -> None:
    """Too little for the server to be waiting for them: it has gone on to the next request."""
    with (
        attacked(models, tmp_path, API_IDLE_TIMEOUT_SECONDS="2") as server,
        socket.socket() as attacker,
    ):
        attacker.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)  # Soon it is full.
        attacker.settimeout(MOST_SECONDS)
        attacker.connect(("127.0.0.1", server.port))
        ask_until_full(attacker)
        assert is_cut(attacker, MOST_SECONDS * 1000)


@pytest.fixture(scope="module")
def table(pytestconfig: pytest.Config) -> Iterator[list[Row]]:
    with printed("On a connection", HTTP1.keys() | HTTP2.keys(), pytestconfig) as rows:
        yield rows


@pytest.mark.parametrize("attacks", [HTTP1, HTTP2], ids=["HTTP/1.1", "HTTP/2"])
def test_attackers_are_cut_off_and_others_are_served(
    server: Server, table: list[Row], attacks: Attacks
) -> None:
    memory, connections = server.memory(), connections_of(server.process)
    with (
        ThreadPoolExecutor(MOST_CONNECTIONS) as threads,
        server.honest() as honest,
    ):
        attackers = [
            threads.submit(witnessed, name, cut_off(words), server, honest)
            for name, words in [*attacks.items()] * ATTACKERS_EACH
        ]
        rows = [attacker.result() for attacker in attackers]
    table += rows[: len(attacks)]
    for attempt in stamina.retry_context(on=AssertionError, attempts=None, timeout=30):
        with attempt:
            assert connections_of(server.process) <= connections
    assert server.memory() < memory + 128 * MEBIBYTES
    assert errors(server) == []


def errors(server: Server) -> list[Any]:
    """What the log says that should not be."""
    lines = map(json.loads, server.log.read_text().splitlines())
    return [line for line in lines if line["level"] == "error" or "exception" in line]


def answer_to(server: Server, request: bytes) -> tuple[int, Any]:
    """The status and the document that a request gets, whose connection ends."""
    with server.connect() as client:
        client.settimeout(MOST_SECONDS)
        client.sendall(request)
        answer = client.makefile("rb").read()
    head, _, body = answer.partition(b"\r\n\r\n")
    assert b"content-type: application/problem+json" in head.lower()
    assert b"connection: close" in head.lower()
    return int(head.split()[1]), json.loads(body)


@pytest.mark.parametrize(
    ("request_", "status", "problem"),
    [
        (GET + b"x: y\r\n" * 100 + b"\r\n", 431, "headers-too-large"),
        (GET + b"x: " + b"y" * 70_000, 431, "headers-too-large"),
        (b"GET /" + b"x" * 70_000, 431, "headers-too-large"),
        (b"\x16\x03\x01\x02\x00\x01\r\n\r\n", 400, "invalid-request"),
        (b"GET / HTTP/1.1\r\n\r\n", 400, "invalid-request"),
        (CHUNKED + b"zz\r\n", 400, "invalid-request"),
        (HEAD + b"Content-Length: -1\r\n\r\n", 400, "invalid-request"),
        (HEAD + b"Content-Length: 2\r\nContent-Length: 3\r\n\r\n{}", 400, "invalid-request"),
        (HEAD + b"Transfer-Encoding: gzip, chunked\r\n\r\n", 400, "invalid-request"),
        (
            HEAD + b"Content-Length: 2\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n" + GET,
            400,
            "invalid-request",
        ),
    ],
    ids=range(10),
)
def test_what_is_not_http_is_told_so(
    server: Server, request_: bytes, status: int, problem: str
) -> None:
    found, document = answer_to(server, request_)
    assert (found, document["type"]) == (status, f"urn:tripod:problem:{problem}")


def test_a_request_for_a_head_that_is_refused_gets_a_head_alone(server: Server) -> None:
    with server.connect() as client:
        client.settimeout(MOST_SECONDS)
        client.sendall(b"HEAD / HTTP/1.1\r\nHost: api\r\n" + b"x: y\r\n" * 100 + b"\r\n")
        answer = client.makefile("rb").read()
    assert answer.startswith(b"HTTP/1.1 431")
    assert answer.endswith(b"\r\n\r\n")
    assert errors(server) == []


def test_garbage_after_a_request_for_a_head_gets_a_whole_answer(server: Server) -> None:
    with admitted(server, b"HEAD /livez HTTP/1.1\r\nHost: api\r\n\r\n") as client:
        client.settimeout(MOST_SECONDS)
        client.sendall(b"\0\r\n\r\n")
        answer = client.makefile("rb").read()
    assert answer.startswith(b"HTTP/1.1 400")
    assert answer.endswith(b"}")


def admitted(server: Server, request: bytes) -> socket.socket:
    """A connection that is answered, as soon as the server has let go of earlier ones."""
    for attempt in stamina.retry_context(on=AssertionError, attempts=None, timeout=30):
        with attempt:
            connection = server.connect()
            connection.sendall(request)
            answer = connection.recv(4096)
            if not answer.startswith(b"HTTP/1.1 200"):
                connection.close()
            assert answer.startswith(b"HTTP/1.1 200")
    return connection


def test_one_address_leaves_connections_to_others(models: Path, tmp_path: Path) -> None:
    variables: dict[str, Any] = {
        "API_MAX_CONNECTIONS": "10",
        "API_MAX_CONNECTIONS_PER_ADDRESS": "2",
    }
    request = GET.replace(b"openapi.json", b"livez") + b"\r\n"
    with (
        attacked(models, tmp_path, **variables) as server,
        admitted(server, request),
        admitted(server, request),
    ):
        status, document = answer_to(server, request)
        assert (status, document["type"]) == (503, "urn:tripod:problem:overloaded")
        assert document["detail"].startswith("127.0.0.1 has 2 connections")
        with server.connect("127.0.0.2") as other:
            other.sendall(request)
            assert other.recv(4096).startswith(b"HTTP/1.1 200")


def test_a_body_that_comes_after_the_answer_is_not_in_the_way_of_the_next(server: Server) -> None:
    connection, answer = begun(server.port, "/nowhere", 10)
    with closing(connection):
        assert (answer.status, answer.will_close) == (404, False)
        connection.send(b"0123456789")
        connection.request("GET", "/livez")
        assert connection.getresponse().status == 200


def test_an_answer_to_a_body_that_is_not_worth_it_says_that_it_is_the_last(server: Server) -> None:
    connection, answer = begun(server.port, "/nowhere", 1_000_000)
    connection.close()
    assert (answer.status, answer.will_close) == (404, True)


def test_whoever_sends_on_after_the_answer_gets_all_of_it(server: Server) -> None:
    told = told_without_an_end(server.port, "/nowhere", 1_000_000)
    assert b"connection: close" in told.lower()
    assert told.endswith(b"}")


def headers(path: str, method: str = "GET") -> list[tuple[str, str]]:
    pseudo = {":method": method, ":path": path, ":scheme": "http", ":authority": "api"}
    return [*pseudo.items(), ("content-type", "application/json")]


def test_http2_survives_a_body_that_nobody_wants(server: Server) -> None:
    client = H2Connection()
    client.initiate_connection()
    with server.connect() as connection:
        connection.settimeout(MOST_SECONDS)
        client.send_headers(1, headers("/nowhere", "POST"))
        connection.sendall(client.data_to_send())
        answered: list[tuple[int, str]] = []
        while not answered:
            answered += statuses(client, connection)
        client.send_data(1, b"late", end_stream=True)
        client.send_headers(3, headers("/livez"), end_stream=True)
        connection.sendall(client.data_to_send())
        while len(answered) < 2:
            answered += statuses(client, connection)
    assert answered == [(1, "404"), (3, "200")]


def statuses(client: H2Connection, connection: socket.socket) -> list[tuple[int, str]]:
    """The answers that have arrived, as soon as something has."""
    data = connection.recv(65536)
    assert data, "the connection was cut"
    events = [event for event in client.receive_data(data) if isinstance(event, ResponseReceived)]
    return [(event.stream_id, dict(event.headers)[b":status"].decode()) for event in events]
