"""HTTP/1.1 of the api-server, with limits that uvicorn does not have by itself.

Its usual parser keeps headers in memory until they end, and nobody has to end anything.
"""

import asyncio
from typing import Any

import h11
from uvicorn.protocols.http.h11_impl import H11Protocol

KIBIBYTES = 1024
SECONDS = 1.0

MOST_OF_HEADERS = 64 * KIBIBYTES
SECONDS_FOR_HEADERS = 10 * SECONDS
SECONDS_FOR_A_BODY = 60 * SECONDS


class Http1(H11Protocol):
    """A connection of a client, who has so long to say what it wants."""

    def __init__(self, *arguments: Any, **options: Any) -> None:
        super().__init__(*arguments, **options)
        self._deadline: asyncio.TimerHandle | None = None
        self._awaited: object | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Begins to wait for headers."""
        super().connection_made(transport)
        self._wait()

    def connection_lost(self, exc: Exception | None) -> None:
        """Waits for nothing more."""
        self._wait_for(None)
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        """Looks what is to come now."""
        super().data_received(data)
        self._wait()

    def on_response_complete(self) -> None:
        """Looks what is there already of the next request."""
        super().on_response_complete()
        if self.conn.trailing_data[0]:
            self._wait()

    def _wait(self) -> None:
        is_ours = self.transport.get_protocol() is self and not self.transport.is_closing()
        state = self.conn.their_state
        self._wait_for(state if is_ours and state in (h11.IDLE, h11.SEND_BODY) else None)

    def _wait_for(self, awaited: object | None) -> None:
        """Gives the client its time for headers or a body; what comes of them gives no more."""
        if awaited is self._awaited:
            return
        if self._deadline:
            self._deadline.cancel()
        self._awaited, self._deadline = awaited, None
        if awaited:
            seconds = SECONDS_FOR_HEADERS if awaited is h11.IDLE else SECONDS_FOR_A_BODY
            self._deadline = self.loop.call_later(seconds, self.transport.close)
