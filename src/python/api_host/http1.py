"""HTTP/1.1 as Hypercorn speaks it, without what a request does not need."""

import re
import time
from functools import lru_cache
from http import HTTPStatus
from itertools import chain

import h11
from h11._headers import Headers
from hypercorn import protocol
from hypercorn.config import Config
from hypercorn.events import RawData
from hypercorn.protocol.events import Body, EndBody, Event, Response
from hypercorn.protocol.h11 import H11Protocol
from hypercorn.protocol.http_stream import HTTPStream
from hypercorn.typing import H11SendableEvent

BODY = "tripod.body"
"""The extension of a scope that holds a body which was there as soon as its request was."""

_UPGRADE = b"upgrade"
_HTTP_2 = b"PRI"
"""The method that an HTTP/2 connection without TLS begins with."""

_ILLEGAL = re.compile(rb"[\r\n\0]")


class Http1(H11Protocol):
    """A connection that speaks HTTP/1.1.

    Hypercorn 0.18 sends the head of an answer by itself, which is a system call more and wakes the
    client up twice. It looks at each byte of each header of an answer, although only a line break
    does harm, writes the date anew for each, and decodes those of a request to see whether it is to
    become HTTP/2.
    """

    _head: bytes = b""

    async def stream_send(self, event: Event) -> None:
        """Sends a part of an answer."""
        is_last = self.keep_alive_requests >= self.config.keep_alive_max_requests
        if isinstance(event, Response) and event.status_code >= HTTPStatus.OK and not is_last:
            await self._send_h11_event(self._response(event))
        else:
            await super().stream_send(event)

    def _response(self, event: Response) -> h11.Response:
        headers = [*event.headers, *_own_headers(self.config, int(time.time()))]
        if _ILLEGAL.search(b"".join(chain.from_iterable(headers))):
            raise h11.LocalProtocolError("a header holds a line break")
        checked = Headers([(name, name.lower(), value) for name, value in headers])
        return h11.Response(headers=checked, status_code=event.status_code)

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
        if event.method == _HTTP_2 or any(name == _UPGRADE for name, _ in event.headers):
            await super()._check_protocol(event)


class _Stream(HTTPStream):
    """A request whose body, if it came in one piece with its end, can be had without waiting."""

    _pieces = 0
    _body = b""

    async def handle(self, event: Event) -> None:
        """Takes a part of a request."""
        if isinstance(event, Body):
            self._pieces += 1
            self._body = bytes(event.data) if self._pieces == 1 else b""
        elif isinstance(event, EndBody) and self._pieces <= 1:
            self.scope["extensions"][BODY] = {"body": self._body}
        await super().handle(event)


def install() -> None:
    """Makes Hypercorn in this process speak HTTP/1.1 like this."""
    setattr(protocol, H11Protocol.__name__, Http1)
    setattr(protocol.h11, HTTPStream.__name__, _Stream)


@lru_cache(1)
def _own_headers(config: Config, second: int) -> list[tuple[bytes, bytes]]:  # noqa: ARG001
    return config.response_headers("h11")
