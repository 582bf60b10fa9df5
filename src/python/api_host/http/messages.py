"""Messages of HTTP/1.1 (RFC 9112) on a connection: requests, read by llhttp, and answers."""

import re
from collections import deque
from functools import lru_cache
from http import HTTPStatus
from typing import TypeAlias

import h11
import httptools
from h11 import LocalProtocolError, RemoteProtocolError
from hypercorn.config import Config

Pairs: TypeAlias = list[tuple[bytes, bytes]]
State: TypeAlias = object

_VERSIONS = {b"1.0", b"1.1"}
_TARGET = re.compile(rb"[!-~]+")
_BODILESS = {HTTPStatus.NO_CONTENT, HTTPStatus.NOT_MODIFIED}
_FRAMING = {b"content-length", b"transfer-encoding"}
_SAID = {b"connection", b"expect"}
_FRAMES = re.compile(rb"chunked|[0-9]{0,20}")


class Request(h11.Request):
    """The head of a request that has been checked already."""

    def __init__(self, method: bytes, target: bytes, headers: Pairs, version: bytes) -> None:
        object.__setattr__(self, "method", method)
        object.__setattr__(self, "target", target)
        object.__setattr__(self, "headers", headers)
        object.__setattr__(self, "http_version", version)


class Messages:
    """Stands in for a server's `h11.Connection`, and takes a fraction of its time.

    It takes no request that h11 refuses, but for line breaks before one and spaces before its
    target, and understands the same by it; of what h11 takes, it refuses chunks in HTTP/1.0. A
    protocol that a client would like to change to is passed over.

    `most`: how many bytes a head may have.
    `method`: of the request that is not answered yet; nothing where there is none.
    """

    trailing_data = (b"", False)

    def __init__(self, most: int) -> None:
        self._most = most
        self._parser = httptools.HttpRequestParser(self)
        self._arrived: deque[h11.Event | RemoteProtocolError] = deque()
        self._unsaid = 0
        self._is_in_head = self._is_ended = False
        self._target = b""
        self._headers: Pairs = []
        self.method = self._version = b""
        self._stays = False
        self._is_chunked = False
        self._left: int | None = None
        self.our_state: State = h11.IDLE
        self.their_state: State = h11.IDLE
        self.they_are_waiting_for_100_continue = False

    def receive_data(self, data: bytes) -> None:
        """Reads what has arrived; nothing: the client sends no more."""
        self._is_ended |= not data
        # What arrives before it amounts to anything: a head, trailers, what is said of chunks.
        self._unsaid += len(data)
        try:
            self._read(data)
        except httptools.HttpParserError as error:
            self._arrived.append(RemoteProtocolError(str(error)))
        if self._unsaid > self._most:
            self._arrived.append(_too_large())

    def _read(self, data: bytes) -> None:
        while data and self.their_state is not h11.MUST_CLOSE:
            try:
                self._parser.feed_data(data)
            except httptools.HttpParserUpgrade as upgrade:
                data = data[upgrade.args[0] :]
                self._go_on_with_body()
            else:
                return

    def _go_on_with_body(self) -> None:
        """Goes on after a head with an upgrade, behind which httptools sees no body."""
        framing = [b"%b: %b\r\n" % header for header in self._headers if header[0] in _FRAMING]
        if framing and _length(self._headers) != 0:
            self._arrived.pop()  # The end of the request, which is not there yet.
            self._parser = httptools.HttpRequestParser(self)
            self._parser.feed_data(b"".join([b"POST / HTTP/1.1\r\nHost: \r\n", *framing, b"\r\n"]))
            self._arrived.pop()

    def on_message_begin(self) -> None:
        """Called by the parser, as all that follow: a head begins."""
        self._is_in_head = True
        self._target = b""
        self._headers = []

    def on_url(self, part: bytes) -> None:
        """More of the target has arrived."""
        self._target += part

    def on_header(self, name: bytes, value: bytes) -> None:
        """A header has arrived, or a trailer."""
        if self._is_in_head:
            self._headers.append((name.lower(), value.rstrip(b" \t")))

    def on_headers_complete(self) -> None:
        """All of a head has arrived."""
        self._is_in_head = False
        self._unsaid = 0
        parser = self._parser
        version = parser.get_http_version().encode()
        request = Request(parser.get_method(), self._target, self._headers, version)
        self._arrived.append(_error_in(request, self._most) or request)

    def on_body(self, part: bytes) -> None:
        """A part of a body has arrived."""
        self._unsaid = 0
        self._arrived.append(h11.Data(data=part))

    def on_message_complete(self) -> None:
        """All of a request has arrived."""
        self._unsaid = 0
        self._arrived.append(h11.EndOfMessage())

    def next_event(self) -> h11.Event | type[h11.NEED_DATA] | type[h11.PAUSED]:
        """What comes next. Raises `h11.RemoteProtocolError`, after which nothing does."""
        if self.their_state is h11.MUST_CLOSE or not self._arrived:
            return self._end() if self._is_ended else h11.NEED_DATA
        event = self._arrived[0]
        if isinstance(event, RemoteProtocolError):
            self.their_state = h11.ERROR
            raise event
        if type(event) is Request:
            if self.their_state is not h11.IDLE:
                return h11.PAUSED
            self._begin(event)
        elif type(event) is h11.EndOfMessage:
            self.their_state = h11.DONE if self._stays else h11.MUST_CLOSE
        else:
            self.they_are_waiting_for_100_continue = False
        return self._arrived.popleft()  # type: ignore[return-value]  # Errors were raised.

    @property
    def stays(self) -> bool:
        """Whether the connection goes on after the request that is answered, as far as it says."""
        return self._stays

    @property
    def is_between(self) -> bool:
        """Whether nothing is left of what has arrived."""
        return not (self._arrived or self._unsaid or self._is_in_head)

    def take_end(self) -> bool:
        """Whether the end of a request comes next, which then has come."""
        is_next = bool(self._arrived) and type(self._arrived[0]) is h11.EndOfMessage
        if is_next:
            self.next_event()
        return is_next

    def _begin(self, request: Request) -> None:
        self.their_state, self.our_state = h11.SEND_BODY, h11.SEND_RESPONSE
        self.method, self._version = request.method, request.http_version
        is_new = self._version == b"1.1"
        # Most requests say neither; in those that came by here, names are in small letters.
        said = [header for header in request.headers if header[0] in _SAID]
        self._stays = is_new and b"close" not in _tokens(said, b"connection")
        expected = _tokens(said, b"expect") if said else ()
        self.they_are_waiting_for_100_continue = is_new and b"100-continue" in expected

    def _end(self) -> h11.ConnectionClosed:
        if self.their_state is h11.SEND_BODY or (self.their_state is h11.IDLE and self._is_in_head):
            self.their_state = h11.ERROR
            raise RemoteProtocolError("the client went away in the middle of a request")
        return h11.ConnectionClosed()

    def start_next_cycle(self) -> None:
        """Goes on to the next request, when one is answered."""
        if not self.our_state is self.their_state is h11.DONE:
            raise LocalProtocolError("not in a reusable state")
        self.our_state = self.their_state = h11.IDLE
        self.method = b""

    def go_on(self, headers: Pairs) -> bytes:
        """The bytes that let a client send the body that it has told of (section 10.1.1)."""
        self.they_are_waiting_for_100_continue = False
        return head(HTTPStatus.CONTINUE, headers)

    def head(self, status: int, headers: Pairs) -> bytes:
        """The bytes of the head of an answer. Raises `h11.LocalProtocolError`, as all that follow.

        `headers`: are checked already, and may be added to.
        """
        if self.our_state not in (h11.IDLE, h11.SEND_RESPONSE):
            raise LocalProtocolError("the answer has begun already")
        self.our_state = h11.SEND_BODY
        self.they_are_waiting_for_100_continue = False
        names = [name.lower() for name, _ in headers]
        self._is_chunked, self._left = False, None
        if b"content-length" in names:
            self._left = int(headers[names.index(b"content-length")][1])
        if self._left is None and status not in _BODILESS:
            if self._version == b"1.1":
                self._is_chunked = True
                headers.append((b"Transfer-Encoding", b"chunked"))
            elif self.method != b"HEAD":
                self._stays = False
        if self.method == b"HEAD" or status in _BODILESS:
            self._is_chunked, self._left = False, 0
        said = _tokens(headers, b"connection") if b"connection" in names else set()
        self._stays = self._stays and b"close" not in said
        if not self._stays and not said:
            headers.append((b"Connection", b"close"))
        return head(status, headers)

    def body(self, data: bytes) -> bytes:
        """The bytes of a part of its body."""
        if self.our_state is not h11.SEND_BODY:
            raise LocalProtocolError("no answer has begun")
        if self._left is not None:
            self._left -= len(data)
            if self._left < 0:
                raise LocalProtocolError("the body is longer than its head says")
        if self._is_chunked and data:
            return b"%x\r\n%b\r\n" % (len(data), data)
        return data

    def end(self) -> bytes:
        """The bytes of its end."""
        if self.our_state is not h11.SEND_BODY:
            raise LocalProtocolError("no answer has begun")
        if self._left:
            raise LocalProtocolError("the body is shorter than its head says")
        self.our_state = h11.DONE if self._stays else h11.MUST_CLOSE
        return b"0\r\n\r\n" if self._is_chunked else b""


def head(status: int, headers: Pairs) -> bytes:
    """The bytes of the head of an answer."""
    lines = [b"HTTP/1.1 %d \r\n" % status]
    lines += [b"%b: %b\r\n" % header for header in headers]
    return b"".join([*lines, b"\r\n"])


@lru_cache(1)
def own_headers(config: Config, second: int) -> Pairs:  # noqa: ARG001 - the date is of a second
    """Those of every answer: of Hypercorn's settings, and the date."""
    return config.response_headers("h11")


def _length(headers: Pairs) -> int | None:
    return next((int(value) for name, value in headers if name.lower() == b"content-length"), None)


def _tokens(headers: Pairs, name: bytes) -> set[bytes]:
    """What a header lists, with commas between, in small letters."""
    values = [value for found, value in headers if found.lower() == name]
    return {token.strip().lower() for token in b",".join(values).split(b",")} if values else set()


def _error_in(request: Request, most: int) -> RemoteProtocolError | None:
    """What llhttp lets pass and h11 does not."""
    size, hosts, framing = len(request.target), 0, []
    for name, value in request.headers:
        size += len(name) + len(value)
        if name == b"host":
            hosts += 1
        elif name in _FRAMING:
            framing.append(value.lower())
    if size > most:
        return _too_large()
    if request.http_version not in _VERSIONS:
        reason = "this version of HTTP is not spoken here"
    elif hosts > 1 or (not hosts and request.http_version == b"1.1"):
        reason = "a request names its host once"
    elif request.method == b"CONNECT" or not _TARGET.fullmatch(request.target):
        reason = "this is no path of a host"
    elif request.http_version == b"1.0" and b"chunked" in framing:
        reason = "HTTP/1.0 has no chunks"
    elif len(framing) > 1 or not _FRAMES.fullmatch(b"".join(framing)):
        reason = "the end of the body cannot be told"
    else:
        return None
    return RemoteProtocolError(reason)


def _too_large() -> RemoteProtocolError:
    return RemoteProtocolError("the head is too large", HTTPStatus.REQUEST_HEADER_FIELDS_TOO_LARGE)
