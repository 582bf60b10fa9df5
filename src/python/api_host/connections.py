"""Connections: how many there may be, and how they end."""

import asyncio
from collections.abc import Awaitable, Callable
from contextlib import suppress
from dataclasses import dataclass, field
from functools import partial
from typing import Any, cast

from hypercorn.asyncio import run
from hypercorn.asyncio.tcp_server import TCPServer
from hypercorn.asyncio.worker_context import AsyncioSingleTask
from hypercorn.typing import TaskGroup

from api_host import http1, metrics
from api_host.problems import OVERLOADED, Problem
from api_host.turnstile import Turnstile

KIBIBYTES = 1024
SECONDS = 1.0

LOOK = b"GET "

RETRY_SECONDS = 1
ASK_SECONDS = 1 * SECONDS
"""How long one who is refused may take to send a request: an answer before it could get lost."""

CLOSE_SECONDS = 5 * SECONDS
"""How long a client may take to read the rest of an answer that ends here."""


@dataclass
class _Connections:
    """Those that are open.

    `most`: how many there may be.
    `turnstile`: by which their requests come in.
    """

    most: int
    count: int = 0
    turnstile: Turnstile = field(default_factory=Turnstile)


class _IdleTimer(AsyncioSingleTask):
    """Ends a connection that nothing comes by, or at once when the server stops.

    Hypercorn 0.18 starts and cancels a task for it at each request, which costs as much as a
    prediction. One timer does not: it goes on while the connection is in use, and is set anew only
    when it has run out.
    """

    def __init__(self, server: TCPServer) -> None:
        super().__init__()
        self._server = server
        self._timer: asyncio.TimerHandle | None = None
        self._deadline: float | None = None

    @property
    def is_running(self) -> bool:
        """Whether the connection is idle."""
        return self._deadline is not None

    async def restart(
        self, task_group: TaskGroup, action: Callable[[], Awaitable[None]]  # noqa: ARG002
    ) -> None:
        """The connection is idle from now on."""
        server = self._server
        if server.context.terminated.is_set():
            self.end()
            return
        self._deadline = server.loop.time() + server.config.keep_alive_timeout
        if self._timer is None:
            self._timer = server.loop.call_at(self._deadline, self._look)

    async def stop(self) -> None:
        """The connection is in use, or closed."""
        self._deadline = None

    def cancel(self) -> None:
        """The connection is closed, and needs no timer any more."""
        self._deadline = None
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _look(self) -> None:
        self._timer = None
        if self._deadline is None:
            return
        if self._deadline <= self._server.loop.time():
            self.end()
        else:
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
    """

    def __init__(self, connections: _Connections, *args: Any) -> None:
        super().__init__(*args)
        self._connections = connections
        self.reader = cast("asyncio.StreamReader", _Reader(self.reader, connections.turnstile))
        self.idle_task = self._idle = _IdleTimer(self)

    async def run(self) -> None:
        connections = self._connections
        if connections.count >= connections.most:
            metrics.REFUSED_CONNECTIONS.inc()
            await self._refuse()
            return
        connections.count += 1
        try:
            await super().run()
        finally:
            connections.count -= 1

    async def _read_data(self) -> None:
        ending = self.loop.create_task(self._end_with_server())
        try:
            await super()._read_data()
        finally:
            ending.cancel()
            self._idle.cancel()

    async def _end_with_server(self) -> None:
        await self.context.terminated.wait()
        if self._idle.is_running:
            self._idle.end()

    async def _refuse(self) -> None:
        try:
            async with asyncio.timeout(ASK_SECONDS):
                await self.reader.read(64 * KIBIBYTES)
                self.writer.write(_refusal(self._connections.most))
                await self.writer.drain()
        except (OSError, TimeoutError):
            pass
        finally:
            await self._close()

    async def _close(self) -> None:
        # Closing waits until all is sent, and so for ever if a client does not read.
        with suppress(TimeoutError):
            async with asyncio.timeout(CLOSE_SECONDS):
                await super()._close()
        self.writer.transport.abort()


def _refusal(most: int) -> bytes:
    detail = f"this host has {most} connections, and more it may not have: ask again later"
    response = Problem(OVERLOADED, detail, retry_after=RETRY_SECONDS).response()
    lines = [b"HTTP/1.1 503 Service Unavailable", b"connection: close"]
    lines += [name + b": " + value for name, value in response.raw_headers]
    return b"\r\n".join([*lines, b"", bytes(response.body)])


def look_after_connections(most: int) -> None:
    """Makes Hypercorn in this process let go of a connection as soon as its client has.

    `most`: how many there may be at a time; who makes another is told so.
    """
    setattr(run, TCPServer.__name__, partial(_Connection, _Connections(most)))
    http1.install()
