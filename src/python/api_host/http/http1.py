"""HTTP/1.1 as Hypercorn speaks it: within limits, and without what a request does not need."""

import re
import time
from functools import lru_cache
from http import HTTPStatus
from itertools import chain
from typing import Any, cast

import h11
from hypercorn.config import Config
from hypercorn.events import Event as WireEvent
from hypercorn.events import RawData
from hypercorn.protocol.events import Event, Response
from hypercorn.protocol.h11 import H2ProtocolAssumedError
from hypercorn.typing import H11SendableEvent

from api_host.http.heads import Heads
from api_host.http.messages import Messages, Request
from api_host.http.messages import Response as Answer
from api_host.problems import HEADERS_TOO_LARGE, INVALID_REQUEST, Problem
from hostkit import http1

_PREFACE = b"PRI * HTTP/2.0\r\n\r\n"
"""What an HTTP/2 connection without TLS begins with (RFC 9113, section 3.4), but for its end."""

_UNREADABLE = Problem(INVALID_REQUEST, "this is not HTTP/1.1, or leaves open where its body ends")

_ILLEGAL = re.compile(rb"[\r\n\0]")


class Http1(http1.Http1):
    """A connection that speaks HTTP/1.1.

    Hypercorn 0.18 sends the head of an answer by itself, which is a system call more and wakes the
    client up twice. It looks at each byte of each header of an answer, although only a line break
    does harm, writes the date anew for each, and decodes those of a request to see whether it is to
    become HTTP/2. H11, by which it reads requests, takes a quarter of the time of a prediction.

    It limits the size of headers and not their number, tells nobody what was wrong, and takes
    WebSockets, of which this host has none.
    """

    def __init__(self, heads: Heads, *args: Any) -> None:
        super().__init__(*args)
        self._heads = heads
        self.connection = cast("h11.Connection", Messages(self.config.h11_max_incomplete_size))
        self._head = b""
        self._is_new = True

    async def handle(self, event: WireEvent) -> None:
        """Takes what a client has sent."""
        if self._is_new and isinstance(event, RawData):
            self._is_new = False
            if event.data.startswith(_PREFACE):
                raise H2ProtocolAssumedError(event.data)
        await super().handle(event)

    async def stream_send(self, event: Event) -> None:
        """Sends a part of an answer."""
        is_last = self.keep_alive_requests >= self.config.keep_alive_max_requests
        if isinstance(event, Response) and event.status_code >= HTTPStatus.OK and not is_last:
            await self._send_h11_event(self._response(self.concluded(event)))
        else:
            await super().stream_send(event)

    def _response(self, event: Response) -> Answer:
        headers = [*event.headers, *_own_headers(self.config, int(time.time()))]
        if _ILLEGAL.search(b"".join(chain.from_iterable(headers))):
            raise h11.LocalProtocolError("a header holds a line break")
        return Answer(event.status_code, headers)

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

    async def _check_protocol(self, event: h11.Request) -> None:
        pass  # HTTP/2 begins as such, and nothing else is spoken here.

    async def _create_stream(self, request: h11.Request) -> None:
        if len(request.headers) > self._heads.count:
            await self._refuse(HEADERS_TOO_LARGE.status)
        else:
            await super()._create_stream(_without_upgrade(request))

    async def _refuse(self, status: int) -> None:
        await self._send_error_response(status)
        await self._maybe_recycle()

    async def _send_error_response(self, status_code: int) -> None:
        if self.connection.our_state is h11.SEND_BODY:
            return  # The answer has begun: all that is left is to end the connection.
        is_large = status_code == HEADERS_TOO_LARGE.status
        response = (self._heads.refusal if is_large else _UNREADABLE).response()
        headers = [*response.raw_headers, (b"connection", b"close")]
        headers += self.config.response_headers("h11")
        status = response.status_code
        await self._send_h11_event(h11.Response(status_code=status, headers=headers))
        await self._send_h11_event(h11.Data(data=bytes(response.body)))
        await self._send_h11_event(h11.EndOfMessage())


@lru_cache(1)
def _own_headers(config: Config, second: int) -> list[tuple[bytes, bytes]]:  # noqa: ARG001
    return config.response_headers("h11")


def _without_upgrade(request: h11.Request) -> h11.Request:
    headers = [header for header in request.headers if header[0] != b"upgrade"]
    return Request(request.method, request.target, headers, request.http_version)
