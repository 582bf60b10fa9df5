"""A request and its answer, as Hypercorn sees them."""

from asyncio import Queue
from types import MethodType
from typing import Any, cast

from hypercorn.protocol.events import Body, EndBody, Event, StreamClosed
from hypercorn.protocol.http_stream import HTTPStream

BODY = "tripod.body"
"""The extension of a scope that holds a body which was there as soon as its request was."""


class Exchange(HTTPStream):
    """One request and its answer.

    What arrives is put into a short queue. Hypercorn 0.18 waits for room in it also when the answer
    has ended and nobody takes anything from it any more: such a connection would stay for ever.

    A body that came in one piece with its end can be had without waiting.
    """

    _pieces = 0
    _body = b""

    async def handle(self, event: Event) -> None:
        """Gives the application what has arrived."""
        if isinstance(event, StreamClosed) and not self.closed:
            self._make_room()
        elif isinstance(event, Body):
            self._pieces += 1
            self._body = bytes(event.data) if self._pieces == 1 else b""
        elif isinstance(event, EndBody) and self._pieces <= 1:
            self.scope["extensions"][BODY] = {"body": self._body}
        await super().handle(event)

    def _make_room(self) -> None:
        queue = cast("Queue[Any]", cast("MethodType", self.app_put).__self__)
        if queue.full():
            while not queue.empty():
                queue.get_nowait()
