"""Load shedding: who asks again for what was just refused is refused at a fraction of the cost.

A refusal costs as much as an answer of a quick model: the request is read, its caller looked up
and counted, its rows are read. Beside a slow model that is asked for five times what it can do,
refusals would take a third of its time. So one that says how busy a model is stands for a second,
for whoever asks the same way again: with the same headers, from the same address. It ends earlier
where the model would take the request.
"""

import asyncio
import re
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol, TypeAlias, cast

from hypercorn.config import Config
from hypercorn.events import Event

from api_host.http.messages import Pairs, head, own_headers

AGAIN = "tripod.again"
"""The extension of a scope by whose `keep` the `Refusal` of its request stands."""

SECONDS = 1.0
"""How long one stands: no longer than it says that one should wait, at least."""

MOST = 1000
"""How many stand at a time; further ones do not."""

MOST_BYTES = 16 * 1024
"""A request whose head or body has more is looked at each time."""

_END = b"\r\n\r\n"
_LENGTH = re.compile(rb"\r\ncontent-length:[ \t]*([0-9]{1,15})[ \t]*(?=\r\n)", re.IGNORECASE)
_ID = re.compile(rb"\r\nx-request-id:[ \t]*([^\r\n]*)", re.IGNORECASE)
_EXPECT = re.compile(rb"\r\nexpect:", re.IGNORECASE)
_DIFFERING = re.compile(
    # The last of them are those of traces: by W3C, and by Zipkin (B3).
    rb"\r\n(?:content-length|x-request-id|traceparent|tracestate|b3|x-b3-[a-z]+):[^\r\n]*",
    re.IGNORECASE,
)
"""Headers in which two requests of one caller may differ, and be the same to this host."""

_Way: TypeAlias = tuple[str, bytes, int]
"""The address, what of the head does not differ, and the magnitude of the body's length."""


class Refusal(Protocol):
    """How a request is refused again."""

    def again(self) -> bool:
        """Counts one more as refused, and says so, if it still would be."""

    def answer(self, given_id: str) -> tuple[int, Pairs, bytes]:
        """The status, headers and body for a request with this id; nothing: it has none."""

    def note(self, seconds: float) -> None:
        """Notes that one was refused, and how long it took."""

    def tell(self) -> None:
        """Says in the end how many there were, if any."""


@dataclass(frozen=True)
class Stands(Event):
    """The refusal of the request that is answered now stands."""

    refusal: Refusal


class Shedding:
    """The refusals that stand.

    `is_on`: whether any may.
    """

    def __init__(self, is_on: Callable[[], bool]) -> None:
        self._is_on = is_on
        self._standing: dict[_Way, Refusal] = {}

    def __bool__(self) -> bool:
        """Whether any does."""
        return bool(self._standing)

    def keep(self, address: str, start: bytes, refusal: Refusal) -> None:
        """Has the refusal of a request from an address stand; `start`: as much of it as came."""
        way, _ = _way(address, start)
        if way is None or way in self._standing or len(self._standing) >= MOST:
            return
        self._standing[way] = refusal
        asyncio.get_running_loop().call_later(SECONDS, self._end, way)

    def find(self, address: str, start: bytes) -> tuple[Refusal | None, int]:
        """The refusal of a request from an address, if it stands; then it is counted as refused.

        Also how many bytes of the request are not in `start`.
        """
        way, missing = _way(address, start)
        refusal = None if way is None else self._standing.get(way)
        return refusal if refusal and self._is_on() and refusal.again() else None, missing

    def end(self) -> None:
        """None stands any more."""
        for way in list(self._standing):
            self._end(way)

    def _end(self, way: _Way) -> None:
        self._standing.pop(way).tell()


class Shedder(asyncio.Protocol):
    """Stands between a connection of HTTP/1.1 and who reads it.

    A request whose refusal stands goes no further, if its head came in one piece and nothing else
    is under way.

    `unread`: how many bytes have come already.
    `most_unread`: how many bytes of answers a client may leave unread.
    `renew`: is called where a request was refused, and the connection is idle again.
    """

    def __init__(
        self,
        shedding: Shedding,
        transport: asyncio.Transport,
        config: Config,
        *,
        address: str,
        unread: int,
        most_unread: int,
        renew: Callable[[], None],
    ) -> None:
        self._shedding = shedding
        self._transport = transport
        self._config = config
        self._address = address
        self._unread = unread
        self._most_unread = most_unread
        self._renew = renew
        self._is_idle = not unread
        self._start = b""
        self._missing = 0
        """How much of a body is to come whose request is refused."""
        self._reader = cast("asyncio.Protocol", transport.get_protocol())
        transport.set_protocol(self)

    def keep(self, refusal: Refusal) -> None:
        """Has the refusal of the request that is under way stand."""
        self._shedding.keep(self._address, self._start, refusal)

    def read(self, count: int) -> None:
        """Notes that so many bytes were read of what came."""
        self._unread -= count

    def rest(self, *, is_between: bool) -> None:
        """What was asked is answered. `is_between`: of what was read, nothing is left."""
        self._is_idle = is_between and not self._unread
        self._start = b""

    def data_received(self, data: bytes) -> None:
        """Called by the transport, as all that follow: something has come."""
        if self._missing:
            data, self._missing = data[self._missing :], max(self._missing - len(data), 0)
            if not data:
                return
        if self._is_idle:
            if self._shedding and self._refuses(data):
                return
            self._is_idle = False
            self._start = data[:MOST_BYTES]
        self._unread += len(data)
        self._reader.data_received(data)

    def _refuses(self, start: bytes) -> bool:
        begin = time.perf_counter()
        transport = self._transport
        if transport.is_closing() or transport.get_write_buffer_size() > self._most_unread:
            return False
        refusal, self._missing = self._shedding.find(self._address, start)
        if refusal is None:
            self._missing = 0
            return False
        given = _ID.search(start, 0, start.find(_END))
        status, headers, body = refusal.answer(given[1].decode("latin-1").rstrip() if given else "")
        headers += own_headers(self._config, int(time.time()))
        transport.write(head(status, headers) + body)
        refusal.note(time.perf_counter() - begin)
        self._renew()
        return True

    def eof_received(self) -> bool | None:
        """The client sends no more."""
        return self._reader.eof_received()

    def connection_lost(self, error: Exception | None) -> None:
        """The connection is gone."""
        self._reader.connection_lost(error)

    def pause_writing(self) -> None:
        """The client reads too slowly."""
        self._reader.pause_writing()

    def resume_writing(self) -> None:
        """The client has caught up."""
        self._reader.resume_writing()


def _way(address: str, start: bytes) -> tuple[_Way | None, int]:
    """What is the same in requests that one caller makes for one thing; None: it may be another.

    Of the length of a body, only its magnitude: what is much larger may wait elsewhere. Also how
    many bytes of the request are not in `start`.
    """
    end = start.find(_END)
    lengths = _LENGTH.findall(start, 0, end + 2) if end >= 0 else ()
    if len(lengths) != 1 or (length := int(lengths[0])) > MOST_BYTES:
        return None, 0
    missing = end + len(_END) + length - len(start)
    # Who waits for a word before the body might not send it behind an answer.
    if missing < 0 or (missing and _EXPECT.search(start, 0, end)):
        return None, 0
    return (address, _DIFFERING.sub(b"", start[:end]), length.bit_length()), missing
