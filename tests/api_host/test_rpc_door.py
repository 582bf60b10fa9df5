"""The port of gRPC: who may come in, who is sent away, and that nobody notices a new process."""

import asyncio
import socket
import threading
import time
from collections import Counter
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, closing, suppress
from itertools import pairwise
from typing import Any

import grpc
import pytest
from grpc import ChannelConnectivity, StatusCode
from hypothesis import given
from hypothesis import strategies as st

from api_host.app import create_app
from api_host.rpc import door, server
from api_host.rpc.frames import CONTINUATION, END_HEADERS, GOAWAY, HEADERS, Frames
from api_host.settings import ApiSettings

pytestmark = pytest.mark.anyio

LIVE = "/inference.GRPCInferenceService/ServerLive"
SECONDS = 60.0

SETTINGS, PING = 4, 6
ENHANCE_YOUR_CALM = 11


@pytest.fixture(params=[False, True], ids=["asyncio", "uvloop"])
def anyio_backend(request: pytest.FixtureRequest) -> tuple[str, dict[str, bool]]:
    """Both, as they are not the same in when a protocol is told of what."""
    return "asyncio", {"use_uvloop": request.param}


@pytest.fixture
def listener() -> Iterator[socket.socket]:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        yield listener


@pytest.fixture
def address(listener: socket.socket) -> tuple[str, int]:
    host, port = listener.getsockname()
    return host, port


def frame(kind: int, payload: bytes = b"", flags: int = 0) -> bytes:
    return len(payload).to_bytes(3, "big") + bytes([kind, flags]) + bytes(4) + payload


def frames(data: bytes) -> Iterator[tuple[int, bytes]]:
    """The kinds and payloads of the frames that have come as a whole."""
    while len(data) >= 9 and len(data) >= (size := 9 + int.from_bytes(data[:3], "big")):
        yield data[3], data[9:size]
        data = data[size:]


class Stranger:
    """A client that knows how connections begin, and leaves the rest to the test."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader = reader
        self.writer = writer

    async def greet(self) -> None:
        """Begins, and waits for the other side's settings."""
        self.writer.write(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + frame(SETTINGS))
        head = await self.reader.readexactly(9)
        await self.reader.readexactly(int.from_bytes(head[:3], "big"))

    async def rest(self) -> bytes:
        """All that comes until the other side closes, which it does."""
        found = b""
        async with asyncio.timeout(SECONDS):
            with suppress(ConnectionResetError):
                while data := await self.reader.read(4096):
                    found += data
        return found


@pytest.fixture
async def stranger(address: tuple[str, int]) -> AsyncIterator[Stranger]:
    reader, writer = await asyncio.open_connection(*address)
    with closing(writer):
        yield Stranger(reader, writer)


@asynccontextmanager
async def hosting(settings: ApiSettings, listener: socket.socket) -> AsyncIterator[None]:
    app = create_app(settings, listener)
    async with app.router.lifespan_context(app):
        yield


def channel_to(address: tuple[str, int]) -> grpc.aio.Channel:
    own_connection = [("grpc.use_local_subchannel_pool", 1)]
    return grpc.aio.insecure_channel("{}:{}".format(*address), own_connection)


def infer(channel: grpc.aio.Channel, message: bytes | None = None) -> Any:
    """A call that sends this message, or none as long as it is not ended."""

    async def messages() -> AsyncIterator[bytes]:
        if message is None:
            await asyncio.Event().wait()
        else:
            yield message

    ask: Any = channel.stream_unary("/inference.GRPCInferenceService/ModelInfer")
    return ask(messages())


async def live(channel: grpc.aio.Channel) -> bytes:
    ask: Any = channel.unary_unary(LIVE)
    answer: bytes = await ask(b"", timeout=SECONDS)
    return answer


def asking(address: tuple[str, int], ended: threading.Event, *, keep: bool) -> Counter[str]:
    """The answers to one who asks on, by one connection or by one for each call."""
    answers: Counter[str] = Counter()
    # The last one is how long a connection may take to come about.
    options = [("grpc.use_local_subchannel_pool", 1), ("grpc.min_reconnect_backoff_ms", 60_000)]
    while not ended.is_set():
        with grpc.insecure_channel("{}:{}".format(*address), options) as channel:
            ask: Any = channel.unary_unary(LIVE)
            while True:
                try:
                    ask(b"", timeout=SECONDS)
                    answers["OK"] += 1
                except grpc.RpcError as error:
                    answers[str(error)] += 1
                if ended.is_set() or not keep:
                    break
    return answers


async def test_no_call_fails_while_one_process_follows_another(
    settings: ApiSettings, listener: socket.socket, address: tuple[str, int]
) -> None:
    ended = threading.Event()
    callers = [
        asyncio.create_task(asyncio.to_thread(asking, address, ended, keep=keep))
        for keep in (True, False) * 2
    ]
    for _ in range(3):
        async with hosting(settings, listener), channel_to(address) as channel:
            for _ in range(50):
                await live(channel)
    async with hosting(settings, listener):
        ended.set()
        answers = await asyncio.gather(*callers)
    assert all(each.keys() == {"OK"} for each in answers), answers


async def watch(channel: grpc.aio.Channel, watches: asyncio.Event) -> str:
    """What is said at the end."""
    ask: Any = channel.unary_stream("/grpc.health.v1.Health/Watch")
    try:
        async for _ in ask(b""):
            watches.set()
    except grpc.aio.AioRpcError as error:
        return error.details() or ""
    return ""


async def test_who_watches_is_sent_to_the_next_process(
    settings: ApiSettings, listener: socket.socket, address: tuple[str, int]
) -> None:
    async with channel_to(address) as channel:
        async with hosting(settings, listener):
            watcher = asyncio.create_task(watch(channel, watches := asyncio.Event()))
            await watches.wait()
        assert await watcher == "this process ends: ask the next one"


async def test_connections_have_a_limit_and_make_room_when_they_end(
    settings: ApiSettings, listener: socket.socket, address: tuple[str, int]
) -> None:
    settings = settings.model_copy(update={"api_max_connections": 1})
    async with hosting(settings, listener), channel_to(address) as second:
        async with channel_to(address) as first:
            await live(first)
            with pytest.raises(grpc.aio.AioRpcError) as refused:
                await live(second)
            assert refused.value.code() is StatusCode.UNAVAILABLE
            await live(first)
        ask: Any = second.unary_unary(LIVE)
        await ask(b"", timeout=SECONDS, wait_for_ready=True)


async def test_calls_have_a_limit_that_health_is_not_held_to(
    settings: ApiSettings, listener: socket.socket, address: tuple[str, int]
) -> None:
    settings = settings.model_copy(update={"api_max_connections": 3})
    async with (
        hosting(settings, listener),
        channel_to(address) as channel,
        channel_to(address) as other,
    ):
        begun = [infer(channel) for _ in range(3)]  # None of them has sent its message yet.
        code = StatusCode.OK
        async with asyncio.timeout(SECONDS):
            while code is not StatusCode.RESOURCE_EXHAUSTED:
                # One of them is refused itself, if it comes while another call is answered.
                begun = [infer(channel) if call.done() else call for call in begun]
                more = infer(other, b"\xff")
                code = await more.code()
                assert code in {StatusCode.INVALID_ARGUMENT, StatusCode.RESOURCE_EXHAUSTED}
        assert dict(await more.trailing_metadata())["retry-after"] == "1"
        await live(other)
        del begun, more


async def test_who_does_not_send_its_message_is_told_and_keeps_nobody_waiting(
    settings: ApiSettings, listener: socket.socket, address: tuple[str, int]
) -> None:
    settings = settings.model_copy(update={"api_read_timeout_seconds": 1.0})
    async with hosting(settings, listener), channel_to(address) as channel:
        waiting = [infer(channel) for _ in range(20)]
        await live(channel)
        while waiting:  # Who keeps a call that has ended keeps its connection.
            assert await waiting[-1].code() is StatusCode.DEADLINE_EXCEEDED
            metadata = dict(await waiting.pop().trailing_metadata())
            assert metadata["problem-type"] == "urn:tripod:problem:slow-body"


async def test_a_connection_on_which_nothing_begins_is_ended(
    settings: ApiSettings, listener: socket.socket, stranger: Stranger
) -> None:
    settings = settings.model_copy(update={"api_read_timeout_seconds": 0.2})
    async with hosting(settings, listener):
        await stranger.rest()


async def test_a_client_that_does_not_answer_is_given_up(
    settings: ApiSettings,
    listener: socket.socket,
    stranger: Stranger,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(server, "SECONDS_TO_PING", 0.2)
    monkeypatch.setattr(server, "SECONDS_TO_ANSWER_A_PING", 0.2)
    async with hosting(settings, listener):
        await stranger.greet()
        assert PING in {kind for kind, _ in frames(await stranger.rest())}


async def test_a_client_that_pings_without_end_is_sent_away(
    settings: ApiSettings, listener: socket.socket, stranger: Stranger
) -> None:
    async with hosting(settings, listener):
        await stranger.greet()
        for _ in range(20):
            stranger.writer.write(frame(PING, bytes(8)))
        # It ends here. With pings on their way, the reason for it may get lost.
        reasons = [payload for kind, payload in frames(await stranger.rest()) if kind == GOAWAY]
        assert all(int.from_bytes(why[4:8], "big") == ENHANCE_YOUR_CALM for why in reasons)


async def test_who_reads_nothing_and_goes_does_not_hold_up_the_end(
    settings: ApiSettings,
    listener: socket.socket,
    stranger: Stranger,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(door, "CLOSE_SECONDS", 0.5)
    async with hosting(settings, listener):
        await stranger.greet()
        # gRPC reads no more as soon as too many of its own words about these are not read.
        with suppress(TimeoutError, ConnectionError):
            while True:
                stranger.writer.write(frame(SETTINGS) * 10_000)
                await asyncio.wait_for(stranger.writer.drain(), 2)
        stranger.writer.transport.abort()
        end = time.monotonic()
    assert time.monotonic() - end < settings.api_predict_timeout_seconds / 2


async def test_a_client_that_asks_nothing_is_asked_to_go_and_comes_back(
    settings: ApiSettings,
    listener: socket.socket,
    address: tuple[str, int],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(server, "IDLE_SECONDS", 0.2)
    async with hosting(settings, listener), channel_to(address) as channel:
        await live(channel)
        async with asyncio.timeout(SECONDS):
            while (state := channel.get_state()) is not ChannelConnectivity.IDLE:
                await channel.wait_for_state_change(state)
        await live(channel)


def cut(data: bytes, places: list[int]) -> Iterator[bytes]:
    edges = sorted({0, len(data), *(place % (len(data) + 1) for place in places)})
    return (data[start:end] for start, end in pairwise(edges))


ANY_FRAME = st.builds(
    frame,
    st.sampled_from([0, HEADERS, SETTINGS, PING, CONTINUATION]),
    st.binary(max_size=20),
    st.sampled_from([0, END_HEADERS]),
)


@given(st.lists(ANY_FRAME, min_size=1, max_size=6), st.lists(st.integers(0)))
def test_a_word_is_put_in_between_frames_only(sent: list[bytes], places: list[int]) -> None:
    data = b"".join(sent)
    good = set()
    for number, each in enumerate(sent, 1):
        ends_headers = each[3] not in (HEADERS, CONTINUATION) or each[4] & END_HEADERS
        if ends_headers:
            good.add(sum(map(len, sent[:number])))
    found, place = Frames(), 0
    for part in cut(data, places):
        found.add(part)
        place += len(part)
        assert found.are_whole == (place in good)
