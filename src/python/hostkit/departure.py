"""The end of an HTTP server that no client notices.

First it stops to accept connections: others wait in the socket for whoever serves it next. Then
each answer asks its client to use another connection, until nobody asks any more. Only then are
connections closed: a request that is on its way to a closed connection would be lost.
"""

import asyncio
import signal
from collections.abc import Callable
from enum import Enum, auto
from typing import Any

import structlog

from hostkit import notify
from hostkit.errors import HostError

SECONDS_OF_QUIET = 0.5
"""How long nobody must have asked for anything."""

MOST_SECONDS = 5.0
"""How long clients may go on asking at most."""

_log = structlog.get_logger("hostkit.departure")


class Reason(Enum):
    """Why a server ends."""

    STOP = auto()
    RELOAD = auto()
    """To start again with new settings, in the same process and on the same socket."""


class Departure:
    """An ASGI application around a server's own, which sees to its end.

    `check_settings`: raises `HostError` where the server could not start again; then a reload is
    refused and all goes on as before.
    `reason`: why it ends, once it does.
    `accepting`: set as soon as connections are accepted.
    `movements`: how often a piece of a request or an answer came or went. While it grows, work is
    done.
    """

    def __init__(self, application: Any, check_settings: Callable[[], None]) -> None:
        self.reason: Reason | None = None
        self.accepting = asyncio.Event()
        self.movements = 0
        self._application = application
        self._check_settings = check_settings
        self._servers: list[asyncio.AbstractServer] = []
        self._asked = asyncio.Event()
        self._last_request = 0.0

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        """Answers one request."""
        if scope["type"] != "http":
            await self._application(scope, receive, send)
            return
        self._last_request = asyncio.get_running_loop().time()

        async def receive_and_count() -> Any:
            message = await receive()
            self.movements += 1
            return message

        async def send_and_part(message: Any) -> None:
            self.movements += 1
            if message["type"] == "http.response.start" and self._parts_from(scope):
                message = {**message, "headers": [*message["headers"], (b"connection", b"close")]}
            await send(message)

        await self._application(scope, receive_and_count, send_and_part)

    def _parts_from(self, scope: Any) -> bool:
        # HTTP/2 has no such header: its connections are told when they are closed.
        return self._asked.is_set() and scope["http_version"].startswith("1")

    def watch(self) -> None:
        """Hears signals from now on, and notes the servers that the event loop makes."""
        loop = asyncio.get_running_loop()
        create_server = loop.create_server

        async def create_and_note(*args: Any, **options: Any) -> asyncio.AbstractServer:
            server = await create_server(*args, **options)
            self._servers.append(server)
            self.accepting.set()
            return server

        # Hypercorn keeps its servers to itself, and closes connections as soon as it closes them.
        setattr(loop, create_server.__name__, create_and_note)
        for number in (signal.SIGINT, signal.SIGTERM):
            loop.add_signal_handler(number, self._end, Reason.STOP)
        if notify.listened_to():  # In a terminal SIGHUP says that the terminal is gone.
            loop.add_signal_handler(signal.SIGHUP, self._reload)

    async def trigger(self) -> None:
        """Returns when connections may be closed: Hypercorn's `shutdown_trigger`."""
        await self._asked.wait()
        for server in self._servers:
            server.close()
        loop = asyncio.get_running_loop()
        now = self._last_request = loop.time()
        latest = now + MOST_SECONDS
        while now < (quiet := min(self._last_request + SECONDS_OF_QUIET, latest)):
            await asyncio.sleep(quiet - now)
            now = loop.time()

    def _end(self, reason: Reason) -> None:
        if self.reason is not Reason.STOP:  # Whoever is to stop does not start again.
            self.reason = reason
        notify.send(notify.STOPPING if self.reason is Reason.STOP else notify.RELOADING)
        self._asked.set()

    def _reload(self) -> None:
        notify.send(notify.RELOADING)
        try:
            self._check_settings()
        except HostError as error:
            _log.error("reload refused, all goes on as before", detail=str(error))
            notify.send(notify.READY)
        else:
            self._end(Reason.RELOAD)
