"""HTTP/1.1 as Hypercorn speaks it: within limits, and without what a request does not need."""

import re
import time
from itertools import chain
from typing import Any, cast

import h11
from hypercorn.events import Closed
from hypercorn.events import Event as WireEvent
from hypercorn.events import RawData, Updated
from hypercorn.protocol.events import Body, EndBody, Event, Request, Response, StreamClosed
from hypercorn.protocol.h11 import STREAM_ID, H2ProtocolAssumedError

from api_host.http.exchange import Exchange, Whole
from api_host.http.heads import Heads
from api_host.http.messages import Messages, Pairs
from api_host.http.messages import Request as Message
from api_host.http.messages import own_headers
from api_host.http.shedding import AGAIN, Refusal, Stands
from api_host.problems import HEADERS_TOO_LARGE, INVALID_REQUEST, Problem
from hostkit import http1

_PREFACE = b"PRI * HTTP/2.0\r\n\r\n"
"""What an HTTP/2 connection without TLS begins with (RFC 9113, section 3.4), but for its end."""

_UNREADABLE = Problem(INVALID_REQUEST, "this is not HTTP/1.1, or leaves open where its body ends")

_BUSY = Updated(idle=False)
_CLOSED = StreamClosed(STREAM_ID)

_ILLEGAL = re.compile(rb"[\r\n\0]")


class Http1(http1.Http1):
    """A connection that speaks HTTP/1.1.

    Hypercorn 0.18 sends the head of an answer by itself, which is a system call more and wakes the
    client up twice. It looks at each byte of each header of an answer, although only a line break
    does harm, writes the date anew for each, and decodes those of a request to see whether it is to
    become HTTP/2. H11, by which it reads requests, takes a quarter of the time of a prediction, and
    to ask whether an event is of one of its classes, which are abstract, costs as much as a call.

    It limits the size of headers and not their number, tells nobody what was wrong, and takes
    WebSockets, of which this host has none.
    """

    def __init__(self, heads: Heads, *args: Any) -> None:
        super().__init__(*args)
        self._heads = heads
        self._messages = Messages(self.config.h11_max_incomplete_size)
        self.connection = cast("h11.Connection", self._messages)
        self._head = b""
        self._is_new = True
        self._is_begun = False  # The body of the request that is read.

    @property
    def is_between(self) -> bool:
        """Whether nothing of a further request was read."""
        return self._messages.is_between

    async def handle(self, event: WireEvent) -> None:
        """Takes what a client has sent."""
        if self._is_new and isinstance(event, RawData):
            self._is_new = False
            if event.data.startswith(_PREFACE):
                raise H2ProtocolAssumedError(event.data)
        await super().handle(event)

    async def _handle_events(self) -> None:
        while True:
            if self._messages.they_are_waiting_for_100_continue:
                await self.send(RawData(self._messages.go_on(self.config.response_headers("h11"))))
            try:
                event = self._messages.next_event()
            except h11.RemoteProtocolError as error:
                if self._messages.our_state in (h11.IDLE, h11.SEND_RESPONSE):
                    await self._send_error_response(error.error_status_hint)
                await self.send(Closed())
                return
            if type(event) is Message:
                await self.send(_BUSY)
                await self._create_stream(event)
            elif event is h11.PAUSED:
                await self.can_read.clear()
                await self.can_read.wait()
            elif event is h11.NEED_DATA or self.stream is None:
                return
            elif type(event) is h11.Data:
                await self.stream.handle(self._piece(bytes(event.data)))
            elif type(event) is h11.ConnectionClosed:
                return
            else:
                await self.stream.handle(EndBody(STREAM_ID))

    def _piece(self, data: bytes) -> Event:
        is_first, self._is_begun = not self._is_begun, True
        if is_first and self._messages.take_end():
            return Whole(STREAM_ID, data)
        return Body(STREAM_ID, data)

    async def _create_stream(self, request: h11.Request) -> None:
        headers = list(request.headers)
        if len(headers) > self._heads.count:
            await self._send_error_response(HEADERS_TOO_LARGE.status)
            await self._maybe_recycle()
            return
        self._request = request
        self._is_begun = False
        ends = self.ssl, self.client, self.server
        self.stream = Exchange(
            self.app, self.config, self.context, self.task_group, *ends, self.stream_send, STREAM_ID
        )
        version, method = request.http_version.decode(), request.method.decode()
        await self.stream.handle(
            Request(STREAM_ID, headers, version, method, request.target, self.connection_state)
        )
        self.stream.scope["extensions"][AGAIN] = {"keep": self._keep}

    async def _keep(self, refusal: Refusal) -> None:
        if self._messages.stays:
            await self.send(Stands(refusal))

    async def _close_stream(self) -> None:
        if self.stream is not None:
            await self.stream.handle(_CLOSED)
            self.stream = None

    async def stream_send(self, event: Event) -> None:
        """Sends a part of an answer."""
        if type(event) is StreamClosed:
            await self._maybe_recycle()
            return
        try:
            data = self._head + self._bytes_of(event)
        except h11.LocalProtocolError:
            if self._messages.their_state is not h11.ERROR:
                raise
            return
        # A body or its end follows a head.
        self._head, data = (data, b"") if type(event) is Response else (b"", data)
        if data:
            await self.send(RawData(data))

    def _bytes_of(self, event: Event) -> bytes:
        if type(event) is Whole:
            return self._messages.body(event.data) + self._messages.end()
        if type(event) is Body:
            return self._messages.body(event.data)
        if type(event) is Response:
            response = self.concluded(event)
            return self._messages.head(response.status_code, self._headers(response))
        return self._messages.end()

    def _headers(self, response: Response) -> Pairs:
        headers = [*response.headers, *own_headers(self.config, int(time.time()))]
        if _ILLEGAL.search(b"".join(chain.from_iterable(headers))):
            raise h11.LocalProtocolError("a header holds a line break")
        return headers

    async def _send_error_response(self, status_code: int) -> None:
        if self._messages.our_state is h11.SEND_BODY:
            return  # The answer has begun: all that is left is to end the connection.
        is_large = status_code == HEADERS_TOO_LARGE.status
        response = (self._heads.refusal if is_large else _UNREADABLE).response()
        headers = [*response.raw_headers, (b"connection", b"close")]
        headers += self.config.response_headers("h11")
        messages = self._messages
        data = messages.head(response.status_code, headers)
        data += b"" if messages.method == b"HEAD" else messages.body(bytes(response.body))
        await self.send(RawData(data + messages.end()))
