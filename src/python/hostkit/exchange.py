"""A request and its answer, as Hypercorn sees them."""

from asyncio import Queue
from types import MethodType
from typing import Any, cast

from hypercorn.protocol.events import Event, StreamClosed
from hypercorn.protocol.http_stream import HTTPStream

_TO_COME = 2
"""What may still be put into the queue: a piece that waits for room, and that nothing follows."""


class Exchange(HTTPStream):
    """One request and its answer.

    What arrives is put into a short queue. Hypercorn 0.18 waits for room in it also when the answer
    has ended and nobody takes anything from it any more: such a connection would stay for ever.
    """

    async def handle(self, event: Event) -> None:
        """Gives the application what has arrived."""
        if isinstance(event, StreamClosed) and not self.closed:
            self._make_room()
        await super().handle(event)

    def _make_room(self) -> None:
        queue = cast("Queue[Any]", cast("MethodType", self.app_put).__self__)
        if queue.qsize() + _TO_COME > queue.maxsize:
            while not queue.empty():
                queue.get_nowait()
