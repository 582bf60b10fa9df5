"""Connections: how many there may be, and how they end."""

import asyncio
import math
import struct
from collections import Counter
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from functools import partial
from socket import SO_LINGER, SOL_SOCKET
from typing import Any, cast

from hypercorn import protocol
from hypercorn.asyncio import run
from hypercorn.asyncio.tcp_server import MAX_RECV, TCPServer
from hypercorn.asyncio.worker_context import AsyncioSingleTask
from hypercorn.events import Closed, Event, RawData, Updated
from hypercorn.protocol import h2, h11
from hypercorn.protocol.http_stream import HTTPStream
from hypercorn.typing import TaskGroup

from api_host import metrics
from api_host.http.exchange import Exchange
from api_host.http.heads import Heads
from api_host.http.http1 import Http1
from api_host.http.http2 import Http2
from api_host.http.pace import Pace
from api_host.http.shedding import Shedder, Shedding, Stands
from api_host.http.turnstile import Turnstile
from api_host.problems import OVERLOADED, Problem

KIBIBYTES = 1024
SECONDS = 1.0

LOOK = b"GET "

RETRY_SECONDS = 1
ASK_SECONDS = 1 * SECONDS
"""How long one who is refused may take to send a request: an answer before it could get lost."""

_MUCH_BYTES = 64 * KIBIBYTES
"""More than this a client must have taken part of, or Hypercorn waits."""

_AT_ONCE = struct.pack("ii", 1, 0)

CLOSE_SECONDS = 5 * SECONDS
"""How long a client may take to read the rest of an answer that ends here."""


@dataclass
class _Connections:
    """Those that are open.

    `most`: how many there may be.
    `most_of_one`: how many of them from one address.
    `pace`: how slow their clients may be.
    `shedding`: the refusals that stand.
    `turnstile`: by which their requests come in.
    """

    most: int
    most_of_one: int
    pace: Pace
    shedding: Shedding
    count: int = 0
    turnstile: Turnstile = field(default_factory=Turnstile)
    by_address: Counter[str] = field(default_factory=Counter)

    def refusal(self, address: str) -> str | None:
        """Why there may be none more from an address; None if there may."""
        if self.count >= self.most:
            return f"this host has {self.most} connections, and more it may not have"
        if self.by_address[address] >= self.most_of_one:
            return f"{address} has {self.most_of_one} connections, and more it may not have"
        return None

    @contextmanager
    def counted(self, address: str) -> Iterator[None]:
        """Counts a connection from an address as long as the block runs."""
        self.count += 1
        self.by_address[address] += 1
        try:
            yield
        finally:
            self.count -= 1
            self.by_address[address] -= 1
            if not self.by_address[address]:
                del self.by_address[address]


class _IdleTimer(AsyncioSingleTask):
    """Ends a connection that nothing comes by, or at once when the server stops.

    Hypercorn 0.18 starts and cancels a task for it at each request, which costs as much as a
    prediction. One timer does not: it goes on while the connection is in use, and is set anew only
    when it has run out.

    `period`: the number of the time for which the connection is idle now; None while it is in use.
    """

    def __init__(self, server: TCPServer, pace: Pace) -> None:
        super().__init__()
        self._server = server
        self._pace = pace
        self._timer: asyncio.TimerHandle | None = None
        self._deadline = math.inf
        self._periods = 0
        self.period: int | None = None

    async def restart(
        self, task_group: TaskGroup, action: Callable[[], Awaitable[None]]  # noqa: ARG002
    ) -> None:
        """The connection is idle from now on."""
        if self._server.context.terminated.is_set():
            self.end()
            return
        self._periods += 1
        self.period = self._periods
        self.renew()

    def renew(self) -> None:
        """The connection, which was idle, has been used for a moment."""
        self._end_after(self._server.config.keep_alive_timeout)

    def use(self) -> None:
        """The connection is in use."""
        self.period = None
        self._deadline = math.inf

    async def stop(self) -> None:
        """The connection is closed."""
        self.use()

    def hurry(self) -> None:
        """The connection is idle no more, but what has come is not all of a request's headers."""
        self._end_after(self._pace.seconds)

    def cancel(self) -> None:
        """The connection is closed, and needs no timer any more."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _end_after(self, seconds: float) -> None:
        self._deadline = self._server.loop.time() + seconds
        if self._timer is not None and self._timer.when() > self._deadline:
            self.cancel()
        if self._timer is None:
            self._timer = self._server.loop.call_at(self._deadline, self._look)

    def _look(self) -> None:
        self._timer = None
        if self._deadline <= self._server.loop.time():
            self.end()
        elif self.period is not None:
            self._timer = self._server.loop.call_at(self._deadline, self._look)

    def end(self) -> None:
        """Closes the connection."""
        self._handle = self._server.loop.create_task(
            self._server._initiate_server_close()  # noqa: SLF001 - as Hypercorn's own does
        )


class _Reader:
    """What a client sends, in its turn; who only looks, as a health check does, goes first."""

    def __init__(self, reader: asyncio.StreamReader, turnstile: Turnstile) -> None:
        self._reader = reader
        self._turnstile = turnstile

    async def read(self, most: int) -> bytes:
        """The next bytes; none at the end."""
        data = await self._reader.read(most)
        if not data.startswith(LOOK):
            await self._turnstile.enter()
        return data

    def at_eof(self) -> bool:
        """Whether nothing comes any more."""
        return self._reader.at_eof()


class _Connection(TCPServer):
    """One connection.

    Hypercorn 0.18 waits until `keep_alive_timeout` is up before it lets go of a connection that its
    client has closed. Clients that make a connection for each request would use up all descriptors.
    It also waits for ever for a client that does not read.
    """

    def __init__(self, connections: _Connections, *args: Any) -> None:
        super().__init__(*args)
        self._connections = connections
        self._pace = connections.pace
        self._came = self.reader._buffer  # type: ignore[attr-defined]  # noqa: SLF001
        self.reader = cast("asyncio.StreamReader", _Reader(self.reader, connections.turnstile))
        self.idle_task = self._idle = _IdleTimer(self, connections.pace)
        self._reading: asyncio.Task[None] | None = None
        self._sending = 0
        self._shedder: Shedder | None = None

    async def run(self) -> None:
        connections = self._connections
        address = str((self.writer.get_extra_info("peername") or [""])[0])
        if why := connections.refusal(address):
            metrics.REFUSED_CONNECTIONS.inc()
            await self._refuse(why)
            return
        with connections.counted(address):
            self._shedder = Shedder(
                connections.shedding,
                cast("asyncio.Transport", self.writer.transport),
                self.config,
                address=address,
                unread=len(self._came),
                most_unread=_MUCH_BYTES,
                renew=self._idle.renew,
            )
            await super().run()

    async def protocol_send(self, event: Event) -> None:
        """Sends what a client may wait for, as long as it takes it."""
        if type(event) is RawData:
            await self._send(event)
        elif type(event) is Updated and not event.idle:
            self._idle.use()
        elif self._shedder is not None and type(event) is Stands:
            self._shedder.keep(event.refusal)
        else:
            if self._shedder is not None and type(event) is Updated:
                http = self.protocol.protocol
                self._shedder.rest(is_between=isinstance(http, Http1) and http.is_between)
            await super().protocol_send(event)

    async def _send(self, event: RawData) -> None:
        transport = self.writer.transport
        unread = transport.get_write_buffer_size() + len(event.data)
        # What waits to be written comes first: HTTP/2 is nothing in another order.
        if unread < _MUCH_BYTES and not self._sending and not transport.is_closing():
            transport.write(event.data)
            return
        self._sending += 1
        try:
            async with asyncio.timeout(self._pace.seconds_for(unread)):
                await super().protocol_send(event)
        except TimeoutError:
            self._cut_off()
            await self.protocol.handle(Closed())
        finally:
            self._sending -= 1

    async def _read_data(self) -> None:
        ending = self.loop.create_task(self._end_with_server())
        self._reading = self.loop.create_task(self._read())
        try:
            await asyncio.wait([self._reading])
            await self.protocol.handle(Closed())
            if not self._reading.cancelled():
                self._reading.result()
        finally:
            ending.cancel()
            self._reading.cancel()
            await self._idle.stop()
            self._idle.cancel()

    async def _read(self) -> None:
        hurried: int | None = None
        while not self.reader.at_eof():
            try:
                data = await self.reader.read(MAX_RECV)
            except OSError:
                return
            if self._shedder is not None:
                self._shedder.read(len(data))
            period = self._idle.period
            await self.protocol.handle(RawData(data))
            is_begun = period is not None and period == self._idle.period != hurried
            # HTTP/2 speaks of itself also where nothing is asked for.
            if is_begun and isinstance(self.protocol.protocol, Http1):
                self._idle.hurry()
                hurried = period

    async def _end_with_server(self) -> None:
        await self.context.terminated.wait()
        if self._idle.period is not None:
            self._idle.end()

    async def _initiate_server_close(self) -> None:
        await super()._initiate_server_close()
        # What its client has not read holds up the end of a connection, and so of reading from it.
        if self._reading is not None:
            self._reading.cancel()

    async def _refuse(self, why: str) -> None:
        try:
            async with asyncio.timeout(ASK_SECONDS):
                await self.reader.read(64 * KIBIBYTES)
                self.writer.write(_refusal(why))
                await self.writer.drain()
        except (OSError, TimeoutError):
            pass
        finally:
            await self._close()

    async def _close(self) -> None:
        # Closing waits until all is sent, and so for ever if a client does not read.
        with suppress(TimeoutError):
            async with asyncio.timeout(CLOSE_SECONDS) as closing:
                await super()._close()
        if closing.expired():
            self._cut_off()

    def _cut_off(self) -> None:
        # The kernel would keep for minutes what nobody reads.
        with suppress(OSError):
            self.writer.get_extra_info("socket").setsockopt(SOL_SOCKET, SO_LINGER, _AT_ONCE)
        self.writer.transport.abort()
        # Requests that have arrived already are not worth an answer either.
        if self._reading is not None:
            self._reading.cancel()


def _refusal(why: str) -> bytes:
    problem = Problem(OVERLOADED, f"{why}: ask again later", retry_after=RETRY_SECONDS)
    response = problem.response()
    lines = [b"HTTP/1.1 503 Service Unavailable", b"connection: close"]
    lines += [name + b": " + value for name, value in response.raw_headers]
    return b"\r\n".join([*lines, b"", bytes(response.body)])


def look_after_connections(
    most: int, most_of_one: int, pace: Pace, heads: Heads, shedding: Shedding
) -> None:
    """Makes Hypercorn in this process let go of a connection as soon as its client has.

    `most`: how many there may be at a time; who makes another is told so.
    `most_of_one`: how many of them from one address.
    `pace`: how slow their clients may be; who is slower is cut off.
    `heads`: how large the heads of requests may be.
    `shedding`: the refusals that stand.
    """
    connections = _Connections(most, most_of_one, pace, shedding)
    setattr(run, TCPServer.__name__, partial(_Connection, connections))
    setattr(protocol, h11.H11Protocol.__name__, partial(Http1, heads))
    setattr(protocol, h2.H2Protocol.__name__, partial(Http2, pace, heads))
    for module in (h11, h2):
        setattr(module, HTTPStream.__name__, Exchange)
