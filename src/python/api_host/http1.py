"""HTTP/1.1 as Hypercorn speaks it, without what a request does not need."""

import h11
from hypercorn.events import RawData
from hypercorn.protocol.h11 import H11Protocol
from hypercorn.typing import H11SendableEvent


class Http1(H11Protocol):
    """A connection that speaks HTTP/1.1.

    Hypercorn 0.18 sends the head of an answer by itself: a system call more, and a client that
    wakes up twice.
    """

    _head: bytes = b""

    async def _send_h11_event(self, event: H11SendableEvent) -> None:
        try:
            data = self.connection.send(event)
        except h11.LocalProtocolError:
            if self.connection.their_state != h11.ERROR:
                raise
            return
        if isinstance(event, h11.Response):
            self._head = data  # Its body or its end follows.
        elif data := self._head + data:
            self._head = b""
            await self.send(RawData(data))
