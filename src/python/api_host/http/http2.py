"""What a client may do on a connection of HTTP/2, and when that is too much."""

import asyncio
from collections.abc import Sequence
from contextlib import suppress
from typing import Any

from h2.errors import ErrorCodes
from h2.events import (
    DataReceived,
    Event,
    PingReceived,
    PriorityUpdated,
    RemoteSettingsChanged,
    RequestReceived,
    StreamReset,
    UnknownFrameReceived,
    WindowUpdated,
)
from h2.exceptions import ProtocolError
from hypercorn.events import Closed
from hypercorn.events import Event as Happening
from hypercorn.events import RawData, Updated
from hypercorn.protocol import events as ours
from hypercorn.protocol.h2 import H2Protocol
from hyperframe.exceptions import HyperframeError

from api_host.http.exchange import Whole
from api_host.http.heads import Heads
from api_host.http.pace import Pace
from api_host.problems import Problem

MOST_TROUBLE = 1000
"""How much trouble a client may make at once: 1 for a frame that asks for nothing, and the next."""

RESET_TROUBLE = 10
"""For a request that is taken back: it costs more than it asks for."""

TROUBLE_A_SECOND = 100
"""How much more it may make with time."""

SMALL_WINDOW_BYTES = 1024
"""Whoever reads answers makes room for more than that at once."""

PIECE_BYTES = 4 * 1024
"""So much is read between two looks at the trouble: frames are small, and each costs time."""


class Http2(H2Protocol):
    """One connection.

    Of HTTP/2, Hypercorn 0.18 believes clients much: that they end what they begin, read what they
    ask for, and want all that they ask for.
    """

    def __init__(self, pace: Pace, heads: Heads, *args: Any) -> None:
        super().__init__(*args)
        self._pace = pace
        self._heads = heads
        self._trouble = 0
        self._is_over = False
        self._begun = asyncio.get_running_loop().time()

    async def initiate(
        self, headers: list[tuple[bytes, bytes]] | None = None, settings: bytes | None = None
    ) -> None:
        """Begins; until something is asked for, the connection is idle."""
        try:
            await super().initiate(headers, settings)
        except (ProtocolError, HyperframeError):
            await self._end()
        else:
            await self._note_idle()

    async def handle(self, event: Happening) -> None:
        """Reads what has come, little by little, so that others have their turn."""
        if not isinstance(event, RawData):
            await super().handle(event)
            return
        for start in range(0, len(event.data), PIECE_BYTES):
            if self._is_over:
                return
            await super().handle(RawData(event.data[start : start + PIECE_BYTES]))
            await asyncio.sleep(0)

    async def _close_stream(self, stream_id: int) -> None:
        await super()._close_stream(stream_id)
        await self._note_idle()

    async def _note_idle(self) -> None:
        if not self.streams and not self.closed:
            await self.send(Updated(idle=True))

    async def stream_send(self, event: ours.Event) -> None:
        """Sends a piece of an answer, as long as its client takes it."""
        if isinstance(event, Whole):
            await self.stream_send(ours.Body(event.stream_id, event.data))
            event = ours.EndBody(event.stream_id)
        size = len(event.data) if isinstance(event, ours.Body) else 0
        try:
            async with asyncio.timeout(self._pace.seconds_for(size)):
                await super().stream_send(event)
        except TimeoutError:
            await self._reset(event.stream_id, ErrorCodes.CANCEL)
            await self._close_stream(event.stream_id)

    async def _handle_events(self, events: list[Event]) -> None:
        for event in events:
            if self._is_too_much(event):
                self.connection.close_connection(ErrorCodes.ENHANCE_YOUR_CALM)
                await self._end()
                return
            if isinstance(event, RequestReceived) and not _is_plain(event.headers or ()):
                await self._reset(event.stream_id, ErrorCodes.PROTOCOL_ERROR)
            elif isinstance(event, RequestReceived) and not self._heads.allow(event.headers):
                await self._refuse(event.stream_id, self._heads.refusal)
            elif isinstance(event, DataReceived) and event.stream_id not in self.streams:
                await self._pass_over(event)
            elif not isinstance(event, PriorityUpdated):
                await super()._handle_events([event])
        await self._flush()

    async def _end(self) -> None:
        self._is_over = True
        await self._flush()
        await self.send(Closed())

    def _is_too_much(self, event: Event) -> bool:
        if isinstance(event, StreamReset):
            self._trouble += RESET_TROUBLE
        elif _asks_for_nothing(event):
            self._trouble += 1
        seconds = asyncio.get_running_loop().time() - self._begun
        return self._trouble > MOST_TROUBLE + TROUBLE_A_SECOND * seconds

    async def _pass_over(self, event: DataReceived) -> None:
        """Part of a body whose request is answered already: more of it is of no use."""
        with suppress(ProtocolError):
            self.connection.acknowledge_received_data(event.flow_controlled_length, event.stream_id)
        if event.stream_ended is None and event.stream_id not in self.stream_buffers:
            await self._reset(event.stream_id, ErrorCodes.NO_ERROR)

    async def _refuse(self, stream_id: int, problem: Problem) -> None:
        response = problem.response()
        headers = [(b":status", str(response.status_code).encode()), *response.raw_headers]
        with suppress(ProtocolError):
            self.connection.send_headers(stream_id, headers)
            self.connection.send_data(stream_id, bytes(response.body), end_stream=True)
        await self._flush()

    async def _reset(self, stream_id: int, code: ErrorCodes) -> None:
        with suppress(ProtocolError):
            self.connection.reset_stream(stream_id, code)
        await self._flush()


def _asks_for_nothing(event: Event) -> bool:
    match event:
        case PingReceived() | PriorityUpdated() | RemoteSettingsChanged() | UnknownFrameReceived():
            return True
        case WindowUpdated():
            return (event.delta or 0) < SMALL_WINDOW_BYTES
        case DataReceived():
            return not event.data and event.stream_ended is None
    return False


def _is_plain(headers: Sequence[tuple[bytes, bytes]]) -> bool:
    """Whether Hypercorn can read who is asked for what; it takes CONNECT for a WebSocket."""
    fields = dict(headers)
    method, path = fields.get(b":method", b""), fields.get(b":path", b"")
    return method.isascii() and path.isascii() and bool(path) and method.upper() != b"CONNECT"
