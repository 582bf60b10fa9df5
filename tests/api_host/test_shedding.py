"""What becomes of those who ask again for what was just refused."""

import asyncio
import json
import re
import socket
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, contextmanager
from dataclasses import dataclass
from enum import Enum, auto
from http.client import HTTPResponse
from pathlib import Path
from subprocess import Popen
from threading import Event

import h11
import httpx
import numpy as np
import pandas as pd
import pytest
import stamina
from hypercorn.config import Config
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.neighbors import KNeighborsRegressor

from api_host.http import shedding
from api_host.http.messages import Messages, Pairs
from api_host.http.shedding import MOST, MOST_BYTES, Refusal, Shedder, Shedding
from tests.api_host.conftest import save
from tests.api_host.registry_server import running
from tests.api_host.test_serve import ROW, free_port, serving, until_well

PATH = "/v1/models/slow/predict"
BODY = json.dumps({"rows": [ROW]}).encode()
LONG_BODY = json.dumps({"rows": [ROW] * 1500}).encode()
BLOCKERS = 3
SECONDS = 60


def request(*headers: str, body: bytes = BODY, path: str = PATH) -> bytes:
    """A request as its bytes; `headers` stand before its length."""
    lines = [f"POST {path} HTTP/1.1", "Host: api", *headers, f"Content-Length: {len(body)}"]
    return "\r\n".join([*lines, "", ""]).encode() + body


JSON = "Content-Type: application/json"
ASK = request(JSON)


class Standing:
    """A refusal that stands for as long as it is told to."""

    def __init__(self) -> None:
        self.stands = True
        self.answered: list[str] = []
        self.noted = self.told = 0

    def again(self) -> bool:
        return self.stands

    def answer(self, given_id: str) -> tuple[int, Pairs, bytes]:
        self.answered.append(given_id)
        return 503, [(b"content-length", b"0")], b""

    def note(self, seconds: float) -> None:
        assert seconds >= 0
        self.noted += 1

    def tell(self) -> None:
        self.told += 1


def found(shed: Shedding, start: bytes, address: str = "10.0.0.1") -> Refusal | None:
    return shed.find(address, start)[0]


@pytest.fixture
def shed() -> Shedding:
    return Shedding(lambda: True)


pytestmark = pytest.mark.anyio


async def test_the_same_request_is_refused_again_for_a_moment(
    shed: Shedding, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(shedding, "SECONDS", 0.01)
    refusal = Standing()
    shed.keep("10.0.0.1", ASK, refusal)
    assert found(shed, ASK) is refusal
    async for attempt in stamina.retry_context(on=AssertionError, attempts=None, timeout=SECONDS):
        with attempt:
            assert not shed
    assert found(shed, ASK) is None
    assert refusal.told == 1


async def test_where_none_stands_any_more_each_has_said_how_many_there_were(
    shed: Shedding,
) -> None:
    refusals = [Standing(), Standing()]
    for number, refusal in enumerate(refusals):
        shed.keep("10.0.0.1", request(JSON, path=f"/{number}"), refusal)
    shed.end()
    assert [refusal.told for refusal in refusals] == [1, 1]
    assert not shed


async def test_it_is_looked_at_again_where_it_might_be_answered(shed: Shedding) -> None:
    refusal = Standing()
    shed.keep("10.0.0.1", ASK, refusal)
    refusal.stands = False
    assert found(shed, ASK) is None


async def test_who_is_to_go_elsewhere_is_told_so_by_the_application() -> None:
    ending = False
    shed = Shedding(lambda: not ending)
    shed.keep("10.0.0.1", ASK, Standing())
    assert found(shed, ASK)
    ending = True
    assert found(shed, ASK) is None


ids = st.text(st.characters(min_codepoint=0x20, max_codepoint=0x7E), max_size=40)


@given(ids, ids, ids, st.integers(64, 127))
def test_ids_traces_and_a_few_bytes_more_make_no_other_request(
    first: str, other: str, trace: str, length: int
) -> None:
    async def is_found() -> bool:
        shed = Shedding(lambda: True)
        refusal = Standing()
        kept = request(f"X-Request-ID: {first}", JSON, body=b"a" * 64)
        shed.keep("10.0.0.1", kept, refusal)
        asked = request(JSON, f"x-request-id:{other}", f"Traceparent: {trace}", body=b"b" * length)
        return found(shed, asked) is refusal

    assert asyncio.run(is_found())


@pytest.mark.parametrize(
    "other",
    [
        request(JSON, "Authorization: Bearer tripod_other"),
        request(JSON, "X-Forwarded-For: 10.0.0.2"),
        request(JSON, path="/v1/models/other/predict"),
        request("Content-Type: text/csv"),
        request(JSON, body=BODY * 2),
        ASK.replace(b"HTTP/1.1", b"HTTP/1.0"),
        ASK.replace(b"POST", b"PUT"),
        ASK[:40],
        ASK[: -len(BODY) - 1],
        ASK + b"P",
        ASK + ASK,
        ASK.replace(b"Content-Length", b"Content-Length: 7\r\nContent-Length"),
        ASK.replace(b"Content-Length", b"Transfer-Encoding: chunked\r\nContent-Length"),
        ASK.replace(b"Content-Length: ", b"Content-Length: +"),
        request(JSON, "X-Request-ID: a\rb"),
        request(JSON, "X-Request-ID: a\nb"),
        b"",
    ],
)
async def test_any_other_request_is_looked_at(shed: Shedding, other: bytes) -> None:
    shed.keep("10.0.0.1", ASK, Standing())
    assert found(shed, ASK)
    assert found(shed, other) is None
    assert found(shed, ASK, "10.0.0.2") is None


async def test_refusals_that_stand_are_not_without_end(shed: Shedding) -> None:
    for number in range(MOST + 1):
        shed.keep("10.0.0.1", request(JSON, path=f"/{number}"), Standing())
    assert found(shed, request(JSON, path=f"/{MOST - 1}"))
    assert found(shed, request(JSON, path=f"/{MOST}")) is None


class Reader(asyncio.Protocol):
    """Who reads a connection and answers, each when it is told to.

    `came`: what is not read yet. `bodies`: those of requests that were answered, by their ids.
    """

    def __init__(self, refusal: Standing) -> None:
        self.came = b""
        self.bodies: dict[str, bytes] = {}
        self._refusal = refusal
        self._messages = Messages(MOST_BYTES)

    def data_received(self, data: bytes) -> None:
        self.came += data

    def read(self, shedder: Shedder) -> None:
        if self.came:
            shedder.read(len(self.came))
            self._messages.receive_data(self.came)
            self.came = b""

    def answer(self, shedder: Shedder) -> None:
        """Answers one request, if a whole one was read."""
        messages = self._messages
        while not isinstance(event := messages.next_event(), type):
            if isinstance(event, h11.Request):
                self._id = dict(event.headers)[b"x-request-id"].decode()
                self._path = event.target.decode()
                self.bodies[self._id] = b""
            elif isinstance(event, h11.Data):
                self.bodies[self._id] += event.data
            else:
                self._refusal.answered.append(self._id)
                if self._path == BUSY_LATER:
                    shedder.keep(self._refusal)
                messages.head(200, [(b"content-length", b"0")])
                messages.end()
                messages.start_next_cycle()
                shedder.rest(is_between=messages.is_between)
                return


class Wire(asyncio.Transport):
    """A connection of which only the answers are of interest."""

    def __init__(self, protocol: asyncio.BaseProtocol) -> None:
        super().__init__()
        self._protocol = protocol

    def get_protocol(self) -> asyncio.BaseProtocol:
        return self._protocol

    def set_protocol(self, protocol: asyncio.BaseProtocol) -> None:
        self._protocol = protocol

    def is_closing(self) -> bool:
        return False

    def get_write_buffer_size(self) -> int:
        return 0

    def write(self, data: bytes | bytearray | memoryview) -> None:
        assert bytes(data).startswith(b"HTTP/1.1 503")


WELL, BUSY, BUSY_LATER = "/well", "/busy", "/later"


class Then(Enum):
    """What happens behind a piece."""

    READ = auto()
    ANSWER = auto()


@dataclass(frozen=True)
class Piece:
    """A request comes, behind what is left of the one before.

    `bodies`: of how many other requests its body consists.
    `left`: how many bytes of it come later; None: its body.
    `stands`: whether models are busy from then on.
    """

    path: str
    bodies: int
    left: int | None
    stands: bool
    then: tuple[Then, ...]


pieces = st.builds(
    Piece,
    path=st.sampled_from([WELL, BUSY, BUSY_LATER]),
    bodies=st.integers(0, 2),
    left=st.sampled_from([0, 0, 0, 0, 1, 90, 150, 250, None]),
    stands=st.sampled_from([True, True, False]),
    then=st.sampled_from([(), (Then.READ,), (Then.ANSWER,), (Then.READ, Then.ANSWER)]),
)
last = Piece(WELL, 0, 0, stands=True, then=(Then.READ, *[Then.ANSWER] * 20))


@settings(max_examples=2000)
@given(st.lists(pieces, max_size=12))
def test_each_request_is_answered_once_and_in_turn_however_it_comes(pieces: list[Piece]) -> None:
    async def answer() -> None:
        refusal = Standing()
        reader = Reader(refusal)
        shed = Shedding(lambda: True)
        for magnitude in range(8):
            shed.keep("10.0.0.1", request(path=BUSY, body=b"#" * (2**magnitude - 1)), refusal)
        inner = request("X-Request-ID: inner", path=BUSY, body=b"")
        shedder = Shedder(
            shed,
            Wire(reader),
            Config(),
            address="10.0.0.1",
            unread=0,
            most_unread=1,
            renew=lambda: None,
        )
        left = b""
        asked: list[tuple[str, bytes]] = []
        for piece in [*pieces, last]:
            body = inner * piece.bodies
            came = left + request(f"X-Request-ID: {len(asked)}", path=piece.path, body=body)
            asked.append((piece.path, body))
            end = len(came) - (len(body) if piece.left is None else piece.left)
            came, left = came[:end], came[end:]
            refusal.stands = piece.stands
            if came:
                shedder.data_received(came)
            for then in piece.then:
                if then is Then.READ:
                    reader.read(shedder)
                else:
                    reader.answer(shedder)
        assert refusal.answered == [str(number) for number in range(len(asked))]
        for number, (path, body) in enumerate(asked):
            assert path != WELL or str(number) in reader.bodies
            assert reader.bodies.get(str(number), body) == body
        assert refusal.noted + len(reader.bodies) == len(asked)

    asyncio.run(answer())


@dataclass(frozen=True)
class Server:
    """An API whose model takes long, and how to keep it busy."""

    port: int
    log: Path

    @contextmanager
    def overloaded(self) -> Iterator[None]:
        """Others ask it for more than it can do, until the block ends."""
        done = Event()

        def ask() -> None:
            with httpx.Client(base_url=f"http://127.0.0.1:{self.port}", timeout=SECONDS) as api:
                while not done.is_set():
                    api.post(PATH, content=LONG_BODY, headers={"Content-Type": "application/json"})

        with ThreadPoolExecutor(BLOCKERS) as threads:
            asking = [threads.submit(ask) for _ in range(BLOCKERS)]
            try:
                yield
            finally:
                done.set()
        for each in asking:
            each.result()

    def connect(self) -> "Connection":
        return Connection(self.port)

    def lines(self, event: str) -> list[dict[str, object]]:
        """What the log says of an event."""
        lines = map(json.loads, self.log.read_text().splitlines())
        return [line for line in lines if line["event"] == event]

    def count(self, metric: str) -> float:
        """What a metric has counted."""
        page = httpx.get(f"http://127.0.0.1:{self.port}/metrics").text
        found = (line.rpartition(" ") for line in page.splitlines() if line.startswith(metric))
        return sum(float(value) for _, _, value in found)


class Answer(HTTPResponse):
    """An answer, and its body."""

    def __init__(self, connection: socket.socket) -> None:
        super().__init__(connection)
        self.begin()
        self.body = self.read()

    @property
    def was_looked_at(self) -> bool:
        """Whether its request came to where requests are counted."""
        return self.headers["RateLimit-Policy"] is not None


class Connection:
    """One that stays, for requests as bytes."""

    def __init__(self, port: int) -> None:
        self.socket = socket.create_connection(("127.0.0.1", port), timeout=SECONDS)
        self.refused_with_a_look = 0

    def close(self) -> None:
        self.socket.close()

    def ask(self, *pieces: bytes) -> Answer:
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        for piece in pieces:
            self.socket.sendall(piece)
        return Answer(self.socket)

    def until_shed(self, *pieces: bytes) -> Answer:
        """Asks until it is refused without a look."""
        for attempt in stamina.retry_context(
            on=AssertionError, attempts=None, timeout=SECONDS, wait_initial=0.001, wait_max=0.01
        ):
            with attempt:
                answer = self.ask(*pieces)
                assert answer.status == 503
                self.refused_with_a_look += answer.was_looked_at
                assert not answer.was_looked_at
        return answer


@contextmanager
def busy_server(folder: Path) -> Iterator[tuple[Server, Popen[bytes]]]:
    x = pd.DataFrame(np.random.default_rng(0).random((20_000, 4)), columns=list(ROW))
    slow = KNeighborsRegressor(n_neighbors=50, algorithm="brute").fit(x, x.sum(axis=1))
    port = free_port()
    with running() as registry:
        registry.promote("slow", save(slow, folder / "slow", x))
        with serving(registry, folder, port, API_MAX_WAITING="1", API_BATCH_ROWS="1") as process:
            with httpx.Client(base_url=f"http://127.0.0.1:{port}") as api:
                until_well(api, process, "/readyz")
            yield Server(port, folder / "log"), process


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    with busy_server(tmp_path_factory.mktemp("shedding")) as (server, _):
        yield server


def test_who_asks_again_is_told_the_same_with_an_id_of_his_own(server: Server) -> None:
    refused = "tripod_api_refused_predictions_total"
    with server.overloaded(), closing(server.connect()) as connection:
        answer = connection.until_shed(request(JSON, "X-Request-ID: mine"))
        before = server.count(refused)
        more = connection.until_shed(request(JSON))
        assert server.count(refused) > before
    problem = json.loads(answer.body)
    assert problem["type"] == "urn:tripod:problem:overloaded"
    assert "request_id" not in problem
    assert answer.headers["Content-Type"] == "application/problem+json"
    assert answer.headers["Retry-After"] == "1"
    assert answer.headers["Tripod-Model"] == "slow/1"
    assert answer.headers["X-Request-ID"] == "mine"
    assert answer.headers["Date"]
    assert len(more.headers["X-Request-ID"]) == 32


def test_of_all_who_asked_again_there_is_one_line_and_metrics_count_each(server: Server) -> None:
    counted = 'tripod_api_requests_total{method="POST",route="predict",status="503"}'
    with server.overloaded(), closing(server.connect()) as connection:
        connection.until_shed(ASK)
    for attempt in stamina.retry_context(
        on=AssertionError, attempts=None, timeout=SECONDS, wait_initial=0.05, wait_max=0.2
    ):
        with attempt:
            single = [line for line in server.lines("request") if line["status"] == 503]
            together = server.lines("refused again")
            assert together
            total = len(single) + sum(int(str(line["count"])) for line in together)
            assert total == server.count(counted)
    assert {line["model"] for line in together} == {"slow"}
    assert {line["path"] for line in together} == {PATH}
    assert {line["request_id"] for line in together} <= {line["request_id"] for line in single}


def test_the_log_has_that_line_also_if_the_server_stops_before_it_is_due(tmp_path: Path) -> None:
    with busy_server(tmp_path) as (server, process):
        with server.overloaded(), closing(server.connect()) as connection:
            connection.until_shed(request(JSON, "X-Request-ID: mine"))
        process.terminate()
        assert process.wait(SECONDS) == 0
        again = server.lines("refused again")
        assert [line["count"] for line in again if line["request_id"] == "mine"] == [1]


def test_as_soon_as_there_is_room_whoever_was_refused_is_answered(server: Server) -> None:
    with closing(server.connect()) as connection:
        with server.overloaded():
            connection.until_shed(ASK)
        assert connection.ask(ASK).status == 200


def test_what_comes_in_pieces_or_together_is_read_whole(server: Server) -> None:
    with server.overloaded(), closing(server.connect()) as connection:
        connection.until_shed(ASK)
        for pieces in ((ASK[:30], ASK[30:]), (ASK[:50], ASK[50:70], ASK[70:])):
            assert connection.ask(*pieces).status in (200, 503)
            connection.until_shed(ASK)
        # Both answers may come at once, of which `Answer` would read the first, and lose the other.
        connection.socket.sendall(ASK + ASK)
        answers = b""
        while answers.count(b"HTTP/1.1 ") < 2:
            answers += connection.socket.recv(65536)
        assert set(re.findall(rb"HTTP/1.1 (\d+)", answers)) <= {b"200", b"503"}


def test_a_body_may_come_behind_its_head(server: Server) -> None:
    head = len(ASK) - len(BODY)
    with server.overloaded(), closing(server.connect()) as connection:
        for end in (head, head + 5):
            connection.until_shed(ASK[:end], ASK[end:])
            connection.until_shed(ASK)
            assert connection.ask(b"GET /livez HTTP/1.1\r\nHost: api\r\n\r\n").status == 200


def test_who_asks_whether_to_send_a_body_is_looked_at(server: Server) -> None:
    asks = request(JSON, "Expect: 100-continue")
    head = len(asks) - len(BODY)
    with server.overloaded(), closing(server.connect()) as connection:
        connection.until_shed(asks)
        connection.socket.sendall(asks[:head])
        assert connection.socket.recv(12) == b"HTTP/1.1 100"


def test_a_connection_that_was_used_before_is_refused_at_once(server: Server) -> None:
    with closing(server.connect()) as before, closing(server.connect()) as connection:
        assert before.ask(ASK).status == 200
        with server.overloaded():
            connection.until_shed(ASK)
            before.until_shed(ASK)
            assert not before.refused_with_a_look


def test_a_large_request_is_looked_at_each_time(server: Server) -> None:
    large = json.dumps({"rows": [ROW] * 1000}).encode()
    assert len(large) > MOST_BYTES
    with server.overloaded(), closing(server.connect()) as connection:
        connection.until_shed(ASK)
        for _ in range(3):
            assert connection.ask(request(JSON, body=large)).was_looked_at


def test_a_connection_that_is_to_end_ends(server: Server) -> None:
    last = request(JSON, "Connection: close")
    with server.overloaded():
        for _ in range(3):
            with closing(server.connect()) as connection:
                assert connection.ask(last).status in (200, 503)
                assert connection.socket.recv(1) == b""


def test_mistakes_are_told_where_there_is_room(server: Server) -> None:
    wrong = b'{"rows": [{"sepal_length": "long"}]}'
    with closing(server.connect()) as connection:
        with server.overloaded():
            connection.until_shed(ASK)
        answer = connection.ask(request(JSON, body=wrong))
        assert answer.status == 422
