"""The port of gRPC: connections come in here, and are passed on to gRPC's own socket.

gRPC takes no socket that listens already, and closes its own when it stops. This one is systemd's,
or is handed on to the process that takes this one's place: nobody is refused meanwhile. And here
clients can be asked to go before gRPC stops, which then refuses what is on its way.
"""

import asyncio
import itertools
import os
import socket
from collections import Counter
from collections.abc import Callable
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import cast
from urllib.parse import unquote

from api_host import metrics
from api_host.auth.guard import NOWHERE
from api_host.rpc.frames import FAREWELL, Frames

SECONDS = 1.0

NAME = "tripod-grpc"
"""Begins the names of the connections inside."""

ACCEPTS = 4
"""How many connections are taken at a look: other workers look too, and are to have their share."""

CLOSE_SECONDS = 5 * SECONDS
"""How long an end may take to read the rest of a connection that ended at the other."""

RETRY_SECONDS = 1 * SECONDS
"""After so long a connection is accepted again where this process had no descriptor for it."""


class Door:
    """Where clients of gRPC come in.

    `listener`: listens already; it stays open.
    `inside`: where gRPC itself listens.
    `most`: how many connections there may be.
    `most_of_one`: how many of them from one address.
    """

    def __init__(self, listener: socket.socket, inside: Path, most: int, most_of_one: int) -> None:
        self._listener = listener
        self._inside = inside
        self._most = most
        self._most_of_one = most_of_one
        self._by_address: Counter[str] = Counter()
        self._loop = asyncio.get_running_loop()
        self._is_open = False
        self._coming: set[asyncio.Task[None]] = set()
        self._clients: set[_Client] = set()
        self._gone = asyncio.Event()
        self._numbers = itertools.count()

    def open(self) -> None:
        """Lets clients in."""
        self._is_open = True
        self._listener.setblocking(False)
        self._loop.add_reader(self._listener, self._look)

    def close(self) -> None:
        """Lets nobody in any more, who waits in the socket, and asks those inside to go."""
        self._is_open = False
        self._loop.remove_reader(self._listener)
        for client in self._clients:
            client.server.ask_to_go()

    async def emptied(self, seconds: float) -> None:
        """Waits until all have gone, or the time is up."""
        with suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                while self._count:
                    self._gone.clear()
                    await self._gone.wait()

    @property
    def _count(self) -> int:
        return len(self._clients) + len(self._coming)

    def _look(self) -> None:
        for _ in range(ACCEPTS):
            try:
                connection, address = self._listener.accept()
            except (BlockingIOError, ConnectionAbortedError):
                return
            except OSError:
                self._loop.remove_reader(self._listener)
                self._loop.call_later(RETRY_SECONDS, self._look_again)
                return
            self._let_in(connection, str(address[0]))

    def _look_again(self) -> None:
        if self._is_open:
            self.open()

    def _let_in(self, connection: socket.socket, address: str) -> None:
        if self._count >= self._most or self._by_address[address] >= self._most_of_one:
            metrics.REFUSED_CONNECTIONS.inc()
            connection.close()
            return
        self._by_address[address] += 1
        task = self._loop.create_task(self._connect(connection, partial(self._left, address)))
        self._coming.add(task)
        task.add_done_callback(self._came)

    def _came(self, task: asyncio.Task[None]) -> None:
        self._coming.discard(task)
        self._gone.set()

    def _left(self, address: str) -> None:
        self._by_address[address] -= 1
        if not self._by_address[address]:
            del self._by_address[address]
        self._gone.set()

    async def _connect(self, connection: socket.socket, left: Callable[[], None]) -> None:
        connection.setblocking(False)
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, True)
        try:
            inner = await self._inner(connection)
            _, server = await self._loop.create_unix_connection(_Server, sock=inner)
        except OSError:
            connection.close()
            left()
            return
        client = _Client(server, self._clients, left)
        try:
            await self._loop.connect_accepted_socket(lambda: client, connection)
        except OSError:
            connection.close()
            server.close()
            left()
            return
        if not self._is_open:
            server.ask_to_go()

    async def _inner(self, connection: socket.socket) -> socket.socket:
        """A connection to gRPC's own socket, whose name there tells where the client is."""
        inner = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        try:
            inner.setblocking(False)
            inner.bind(
                f"\0{NAME}/{os.getpid()}/{next(self._numbers)}/{connection.getpeername()[0]}"
            )
            await self._loop.sock_connect(inner, str(self._inside))
        except BaseException:
            inner.close()
            raise
        return inner


def address_of(peer: str) -> str:
    """The address of a client, by what gRPC calls the other end of its connection."""
    place, _, address = unquote(peer).rpartition("/")
    return address if f"{NAME}/" in place else NOWHERE


class _End(asyncio.Protocol):
    """One end of a connection. What comes here goes out at the other, no quicker than it is read.

    `other`: the other end, once it is there.
    """

    transport: asyncio.Transport

    def __init__(self) -> None:
        self.other: _End | None = None
        self._early = b""

    def join(self, other: "_End") -> None:
        """Goes on to that end, with what has come already."""
        self.other = other
        other.transport.write(self._early)
        if self.transport.is_closing():
            other.close()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast("asyncio.Transport", transport)

    def data_received(self, data: bytes) -> None:
        if self.other is None:
            self._early += data
        else:
            self.other.transport.write(data)

    def pause_writing(self) -> None:
        if self.other and not self.other.transport.is_closing():
            self.other.transport.pause_reading()

    def resume_writing(self) -> None:
        if self.other and not self.other.transport.is_closing():
            self.other.transport.resume_reading()

    def connection_lost(self, _error: Exception | None) -> None:
        if self.other:
            self.other.close()

    def close(self) -> None:
        """Closes this end when all has been read there, or nobody reads it."""
        self.transport.close()
        asyncio.get_running_loop().call_later(CLOSE_SECONDS, self.transport.abort)


class _Server(_End):
    """Where gRPC itself is."""

    def __init__(self) -> None:
        super().__init__()
        self._frames = Frames()
        self._farewell = b""

    def data_received(self, data: bytes) -> None:
        super().data_received(data)
        self._frames.add(data)
        self._part()

    def ask_to_go(self) -> None:
        """Tells the client to make its next calls elsewhere."""
        self._farewell = FAREWELL
        self._part()

    def _part(self) -> None:
        # Not in the middle of another word.
        if self._farewell and self._frames.are_whole:
            super().data_received(self._farewell)
            self._farewell = b""


class _Client(_End):
    """Where the client is."""

    def __init__(self, server: _Server, clients: "set[_Client]", left: Callable[[], None]) -> None:
        super().__init__()
        self.server = server
        self._clients = clients
        self._left = left

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        super().connection_made(transport)
        self._clients.add(self)
        self.join(self.server)
        self.server.join(self)

    def connection_lost(self, error: Exception | None) -> None:
        super().connection_lost(error)
        self._clients.discard(self)
        self._left()
