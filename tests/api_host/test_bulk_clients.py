"""Streams through the real server, which a client may read while it sends, or not."""

import http.client
import json
import subprocess
import threading
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path

import httpx
import pytest
import stamina

from tests.api_host.registry_server import running
from tests.api_host.test_serve import (
    ROW,
    connections_of,
    free_port,
    serving,
    until_well,
)

MEGABYTE = 1_000_000
LINE = json.dumps(ROW).encode() + b"\n"
BLOCK_ROWS = 1_000
BLOCK = LINE * BLOCK_ROWS
PREDICT = "/v1/models/iris/predict"
SECONDS_TO_SEND = 1
MOST_HELD_BYTES = 10 * MEGABYTE
END = b"0\r\n\r\n"


@dataclass(frozen=True)
class Running:
    """An API that serves iris."""

    process: subprocess.Popen[bytes]
    port: int
    log: Path

    def resident_bytes(self) -> int:
        """The memory that its process uses."""
        status = Path(f"/proc/{self.process.pid}/status").read_text()
        (line,) = [line for line in status.splitlines() if line.startswith("VmRSS")]
        return int(line.split()[1]) * 1024

    @contextmanager
    def stream(self) -> Iterator[http.client.HTTPConnection]:
        """A connection on which the head of a stream has been sent."""
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=60)
        with closing(connection):
            connection.putrequest("POST", PREDICT)
            connection.putheader("Content-Type", "application/x-ndjson")
            connection.putheader("Transfer-Encoding", "chunked")
            connection.endheaders()
            yield connection

    def until_let_go(self, connections: int) -> None:
        """Waits until there are no more connections than before."""
        for attempt in stamina.retry_context(on=AssertionError, attempts=None, timeout=30):
            with attempt:
                assert connections_of(self.process) <= connections


@pytest.fixture(scope="module")
def api(models: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    folder = tmp_path_factory.mktemp("api")
    port = free_port()
    with (
        running() as registry,
        serving(
            registry,
            folder,
            port,
            API_READ_TIMEOUT_SECONDS=str(SECONDS_TO_SEND),
            API_MAX_BODY_BYTES=str(MOST_HELD_BYTES),
        ) as process,
        httpx.Client(base_url=f"http://127.0.0.1:{port}", timeout=60) as client,
    ):
        registry.promote("iris", models / "linear")
        until_well(client, process, "/readyz")
        yield Running(process, port, folder / "log")


def send(connection: http.client.HTTPConnection, rows: bytes) -> None:
    connection.send(b"%x\r\n%b\r\n" % (len(rows), rows))


def send_all(connection: http.client.HTTPConnection, blocks: int) -> None:
    for _ in range(blocks):
        send(connection, BLOCK)
    connection.send(END)


@contextmanager
def sending(connection: http.client.HTTPConnection, blocks: int) -> Iterator[None]:
    """Sends so many blocks of rows while the block of code reads the answer."""
    thread = threading.Thread(target=send_all, args=(connection, blocks))
    thread.start()
    yield
    thread.join()


def test_a_stream_of_any_length_takes_no_more_memory_than_a_short_one(api: Running) -> None:
    blocks = 100 * MEGABYTE // len(BLOCK)
    with api.stream() as short, sending(short, 50), short.getresponse() as answer:
        answer.read()
    before = most = api.resident_bytes()
    rows, last = 0, b""
    with api.stream() as long, sending(long, blocks), long.getresponse() as answer:
        while piece := answer.read(256 * 1024):
            rows += piece.count(b"\n")
            last = piece
            most = max(most, api.resident_bytes())
    assert rows == blocks * BLOCK_ROWS
    assert json.loads(last.splitlines()[-1]) == {"row": rows - 1, "prediction": "setosa"}
    assert most - before < 20 * MEGABYTE


def test_a_stream_is_answered_while_it_is_sent(api: Running) -> None:
    with api.stream() as connection:
        send(connection, LINE)
        with connection.getresponse() as answer:
            assert json.loads(answer.readline()) == {"row": 0, "prediction": "setosa"}
            send(connection, LINE)
            assert json.loads(answer.readline()) == {"row": 1, "prediction": "setosa"}
            connection.send(END)
            assert answer.read() == b""


def test_a_client_that_sends_without_reading_is_cut_off(api: Running) -> None:
    before = connections_of(api.process)
    with api.stream() as connection, pytest.raises(OSError, match=r"reset|Broken pipe"):
        send_all(connection, 10**9)
    api.until_let_go(before)
    assert "its client sends without reading the answer" in api.log.read_text()
    assert httpx.get(f"http://127.0.0.1:{api.port}/livez").status_code == 200


def test_a_client_that_neither_sends_nor_ends_is_told_so_and_let_go(api: Running) -> None:
    before = connections_of(api.process)
    with api.stream() as connection:
        send(connection, LINE)
        with connection.getresponse() as answer:
            first, last = answer.read().splitlines()
        assert json.loads(first) == {"row": 0, "prediction": "setosa"}
        assert json.loads(last)["problem"]["type"] == "urn:tripod:problem:slow-body"
        api.until_let_go(before)


def test_a_client_that_goes_away_stops_costing(api: Running) -> None:
    before = connections_of(api.process)
    with api.stream() as connection:
        send(connection, BLOCK)
    with api.stream() as connection:
        connection.send(b"%x\r\n%b" % (len(BLOCK), BLOCK[:100]))
    api.until_let_go(before)
    assert "Traceback" not in api.log.read_text()


@pytest.mark.parametrize("blocks", [200, 400])
def test_a_client_that_says_that_it_does_not_read_meanwhile_gets_as_much_as_can_be_held(
    api: Running, blocks: int
) -> None:
    answer = httpx.post(
        f"http://127.0.0.1:{api.port}{PREDICT}",
        content=(BLOCK for _ in range(blocks)),
        headers={"Content-Type": "application/x-ndjson", "Tripod-Duplex": "half"},
        timeout=60,
    )
    *rows, last = map(json.loads, answer.text.splitlines())
    if blocks * BLOCK_ROWS * len('{"row":123456,"prediction":"setosa"}') < MOST_HELD_BYTES:
        assert last == {"row": blocks * BLOCK_ROWS - 1, "prediction": "setosa"}
    else:
        assert last["problem"]["type"] == "urn:tripod:problem:body-too-large"
        assert last["problem"]["next_row"] == len(rows)
        assert len(answer.content) > MOST_HELD_BYTES
