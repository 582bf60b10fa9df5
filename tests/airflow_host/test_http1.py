"""A connection to the api-server has limits, in a uvicorn that serves an application of its own."""

import select
import socket
import threading
from collections.abc import Iterator
from contextlib import suppress
from typing import Any

import pytest
import uvicorn

from airflow_host import http1

HEAD = b"POST / HTTP/1.1\r\nHost: airflow\r\n"
WHOLE = HEAD + b"Content-Length: 2\r\n\r\n{}"
MOST_DROPS = 1000
MOST_SECONDS = 60.0
SOON = 0.2


async def application(scope: Any, receive: Any, send: Any) -> None:
    """Reads the body, and answers."""
    assert scope["type"] == "http"
    while (await receive()).get("more_body"):
        pass
    headers = [(b"content-length", b"4")]
    await send({"type": "http.response.start", "status": 200, "headers": headers})
    await send({"type": "http.response.body", "body": b"well"})


@pytest.fixture
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    be_impatient(monkeypatch)


def be_impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    """From now on the server waits for nothing for long."""
    monkeypatch.setattr(http1, "SECONDS_FOR_HEADERS", SOON)
    monkeypatch.setattr(http1, "SECONDS_FOR_A_BODY", SOON)


@pytest.fixture
def port() -> Iterator[int]:
    options: dict[str, Any] = {"lifespan": "off", "log_config": None, "timeout_keep_alive": 600}
    options["h11_max_incomplete_event_size"] = http1.MOST_OF_HEADERS
    server = uvicorn.Server(uvicorn.Config(application, http=http1.Http1, **options))
    with socket.create_server(("127.0.0.1", 0)) as listener:
        thread = threading.Thread(target=server.run, args=([listener],))
        thread.start()
        try:
            yield listener.getsockname()[1]
        finally:
            server.should_exit = True
            thread.join()


@pytest.fixture
def connection(port: int) -> Iterator[socket.socket]:
    with socket.create_connection(("127.0.0.1", port), MOST_SECONDS) as connection:
        yield connection


def ask(connection: socket.socket, request: bytes) -> bytes:
    """The answer, when it is whole or the connection ends."""
    answer = b""
    with suppress(ConnectionError):
        connection.sendall(request)
        while not answer.endswith(b"well") and (piece := connection.recv(4096)):
            answer += piece
    return answer


def is_cut(connection: socket.socket, seconds: float) -> bool:
    return bool(select.select([connection], [], [], seconds)[0]) and not connection.recv(4096)


@pytest.mark.parametrize(
    "words", [b"", HEAD, HEAD + b"X: y", HEAD + b"Content-Length: 10\r\n\r\n{"], ids=range(4)
)
@pytest.mark.usefixtures("impatient")
def test_who_does_not_go_on_is_cut_off(connection: socket.socket, words: bytes) -> None:
    connection.sendall(words)
    assert is_cut(connection, MOST_SECONDS)


@pytest.mark.usefixtures("impatient")
def test_drops_give_no_more_time(connection: socket.socket) -> None:
    connection.sendall(HEAD)
    for _ in range(MOST_DROPS):
        if is_cut(connection, SOON / 10):
            return
        with suppress(ConnectionError):
            connection.sendall(b"X: y\r\n")
    pytest.fail("not cut off")


def test_a_second_request_has_as_little_time(
    connection: socket.socket, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert ask(connection, WHOLE).startswith(b"HTTP/1.1 200")
    be_impatient(monkeypatch)
    assert ask(connection, WHOLE + HEAD).startswith(b"HTTP/1.1 200")
    assert is_cut(connection, MOST_SECONDS)


def test_who_has_asked_may_rest(connection: socket.socket, monkeypatch: pytest.MonkeyPatch) -> None:
    assert ask(connection, WHOLE).startswith(b"HTTP/1.1 200")
    be_impatient(monkeypatch)
    assert not is_cut(connection, 4 * SOON)
    assert ask(connection, WHOLE).startswith(b"HTTP/1.1 200")


@pytest.mark.parametrize("piece", [b"x: y\r\n" * 100, b"y" * 1000], ids=["many", "one"])
def test_headers_without_end_are_refused(connection: socket.socket, piece: bytes) -> None:
    answer = ask(connection, HEAD + b"x: " + piece * (http1.MOST_OF_HEADERS // len(piece) + 1))
    assert answer.startswith(b"HTTP/1.1 400")


def test_headers_within_the_limit_are_read(connection: socket.socket) -> None:
    large = b"x: " + b"y" * (http1.MOST_OF_HEADERS - 1000)
    whole = HEAD + large + b"\r\nContent-Length: 2\r\n\r\n{}"
    assert ask(connection, whole).startswith(b"HTTP/1.1 200")
