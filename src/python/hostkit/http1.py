"""HTTP/1.1 by Hypercorn, which ends no connection without a word."""

import asyncio
from dataclasses import replace
from http import HTTPStatus
from typing import cast

import h11
from hypercorn import protocol
from hypercorn.events import Closed
from hypercorn.protocol import h11 as h11_protocol
from hypercorn.protocol.events import EndBody, Event, Response, StreamClosed
from hypercorn.protocol.h11 import H11Protocol
from hypercorn.protocol.http_stream import HTTPStream

from hostkit.exchange import Exchange

SECONDS = 1.0
KIBIBYTES = 1024

REST_SECONDS = 5 * SECONDS
"""How long the rest of a request may come in after its answer."""

MOST_BYTES = 64 * KIBIBYTES
"""Where a body is larger, its rest is not worth the connection."""

CLOSE = (b"connection", b"close")


class Http1(H11Protocol):
    """A connection that speaks HTTP/1.1.

    Who is refused by the head of his request may still have its body on the way. Hypercorn 0.18
    then closes the connection, and its client meets that at the next request, or loses the answer.
    Here the rest is read and thrown away; where that would be too much, the answer says that it is
    the last (RFC 9112, section 9.6).
    """

    _request: h11.Request
    _status = 0

    async def stream_send(self, event: Event) -> None:
        """Sends a part of an answer."""
        if isinstance(event, Response):
            event = self.concluded(event)
        await super().stream_send(event)

    def concluded(self, event: Response) -> Response:
        """The head of an answer, which says so where the connection ends by it."""
        self._status = event.status_code
        is_early = self.connection.their_state is h11.SEND_BODY
        if not is_early or event.status_code < HTTPStatus.BAD_REQUEST or self._is_worth_its_rest:
            return event
        if CLOSE in event.headers:
            return event
        return replace(event, headers=[*event.headers, CLOSE])

    @property
    def _is_worth_its_rest(self) -> bool:
        lengths = [value for name, value in self._request.headers if name == b"content-length"]
        return self._may_rest and bool(lengths) and int(lengths[0]) <= MOST_BYTES

    @property
    def _may_rest(self) -> bool:
        # Who was too slow has had his time.
        is_slow = self._status == HTTPStatus.REQUEST_TIMEOUT
        return not is_slow and not self.context.terminated.is_set()

    async def _check_protocol(self, event: h11.Request) -> None:
        """Has no request become HTTP/2, by whose frames one client can keep all others waiting."""

    async def _create_stream(self, request: h11.Request) -> None:
        self._request = request
        await super()._create_stream(request)

    async def _maybe_recycle(self) -> None:
        await self._close_stream()
        if self.connection.their_state is h11.SEND_BODY and self._may_rest:
            self.stream = cast("HTTPStream", Rest(self))
            await self.can_read.set()
        else:
            await super()._maybe_recycle()

    async def finish(self) -> None:
        """Goes on to the next request, or ends the connection."""
        await self._maybe_recycle()

    async def end(self) -> None:
        """Ends the connection."""
        await self.send(Closed())


class Rest:
    """Stands in for the stream of a request that is answered, and throws away what still comes."""

    def __init__(self, connection: Http1) -> None:
        self._connection = connection
        self._ending: asyncio.Task[None] | None = None
        self._timer = asyncio.get_running_loop().call_later(REST_SECONDS, self._give_up)

    async def handle(self, event: Event) -> None:
        """Takes what has arrived."""
        if isinstance(event, EndBody):
            await self._connection.finish()
        elif isinstance(event, StreamClosed):
            self._timer.cancel()

    def _give_up(self) -> None:
        self._ending = asyncio.get_running_loop().create_task(self._connection.end())


def speak() -> None:
    """Makes Hypercorn in this process speak so."""
    setattr(protocol, H11Protocol.__name__, Http1)
    setattr(h11_protocol, HTTPStream.__name__, Exchange)
