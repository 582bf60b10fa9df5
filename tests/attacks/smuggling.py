"""Requests that a proxy and a server could read differently."""

import socket
from contextlib import suppress
from dataclasses import dataclass

from tests.attacks.connections import received
from tests.attacks.honest import Honest
from tests.attacks.target import Attack, Target, lines

SECRET = "/v2/repository/index"
"""What is hidden in another request: were it answered, the log would name it."""

SMUGGLED = (
    f"POST {SECRET} HTTP/1.1\r\nHost: HOST\r\nConnection: close\r\nContent-Length: 2\r\n\r\n{{}}"
).encode()

ANSWER_SECONDS = 20


@dataclass(frozen=True)
class Trick:
    """A request with another in it.

    `head`: its headers that say where it ends, or not.
    `body`: what is before the other request.
    """

    head: bytes
    body: bytes = b""
    line: bytes = b"POST PATH HTTP/1.1"
    host: bytes = b"Host: HOST\r\n"

    def request(self, target: Target) -> bytes:
        """Its bytes, for a server."""
        line = self.line.replace(b"PATH", target.task.encode())
        head = line + b"\r\n" + self.host + lines(target.shown)
        head += b"Content-Type: application/json\r\n" + self.head
        whole = head + b"\r\n\r\n" + self.body + SMUGGLED
        return whole.replace(b"HOST", target.name.encode())


_LENGTH = b"Content-Length: %d" % len(SMUGGLED)
_CHUNKS = b"0\r\n\r\n"

TRICKS = {
    "two ends: a length and chunks": Trick(_LENGTH + b"\r\nTransfer-Encoding: chunked", _CHUNKS),
    "two ends: chunks and a length": Trick(b"Transfer-Encoding: chunked\r\n" + _LENGTH, _CHUNKS),
    "two lengths": Trick(b"Content-Length: 0\r\n" + _LENGTH),
    "a list of lengths": Trick(b"Content-Length: 0, %d" % len(SMUGGLED)),
    "a length with a sign": Trick(b"Content-Length: +0"),
    "a length in hexadecimal": Trick(b"Content-Length: 0x0"),
    "a length that is negative": Trick(b"Content-Length: -1"),
    "a length with a space before its colon": Trick(b"Content-Length : 0"),
    "a length in digits of another script": Trick("Content-Length: \u0660".encode()),
    "a length behind a bare CR": Trick(b"X: a\rContent-Length: 0\r\n" + _LENGTH[:-1] + b"x"),
    "chunks with a space before the colon": Trick(b"Transfer-Encoding : chunked", _CHUNKS),
    "chunks with another name before": Trick(b"Transfer-Encoding: xchunked", _CHUNKS),
    "chunks and identity": Trick(b"Transfer-Encoding: chunked, identity", _CHUNKS),
    "chunks twice": Trick(b"Transfer-Encoding: chunked\r\nTransfer-Encoding: x", _CHUNKS),
    "chunks behind a vertical tab": Trick(b"Transfer-Encoding: \x0bchunked", _CHUNKS),
    "chunks by a quoted name": Trick(b'Transfer-Encoding: "chunked"', _CHUNKS),
    "chunks of HTTP/1.0": Trick(
        b"Transfer-Encoding: chunked\r\nConnection: keep-alive",
        _CHUNKS,
        line=b"POST PATH HTTP/1.0",
    ),
    "a chunk whose size has a sign": Trick(b"Transfer-Encoding: chunked", b"+0\r\n\r\n"),
    "a chunk whose size is written 0x0": Trick(b"Transfer-Encoding: chunked", b"0x0\r\n\r\n"),
    "a chunk that ends with a bare LF": Trick(b"Transfer-Encoding: chunked", b"1\n{\n0\n\n"),
    "a chunk that is longer than its size": Trick(
        b"Transfer-Encoding: chunked", b"1\r\n{}}\r\n0\r\n\r\n"
    ),
    "a NUL in a header": Trick(b"X: a\0b\r\nContent-Length: 0"),
    "a bare CR in a header": Trick(b"X: a\r\rContent-Length: 0"),
    "a header without a colon": Trick(b"Transfer-Encoding\r\nContent-Length: 0"),
    "a header without a name": Trick(b": chunked\r\nContent-Length: 0"),
    "two hosts": Trick(b"Content-Length: 0", host=b"Host: HOST\r\nHost: other\r\n"),
    "no host": Trick(b"Content-Length: 0", host=b""),
    "a space in the target": Trick(b"Content-Length: 0", line=b"POST PATH x HTTP/1.1"),
    "a line of HTTP/0.9": Trick(b"Content-Length: 0", line=b"POST PATH"),
}
"""Whoever takes one of them for two requests must not have a proxy before it that does not."""


def sent(connection: socket.socket, request: bytes) -> list[int]:
    """The statuses of all answers to what is sent, when the connection has ended."""
    connection.settimeout(ANSWER_SECONDS)
    with suppress(ConnectionError):
        connection.sendall(request)
    return received(connection)


def tried(trick: Trick) -> Attack:
    """A trick, as an attack."""

    def attack(target: Target, _: Honest) -> str:
        with target.connect() as connection:
            return told(sent(connection, trick.request(target)))

    return attack


def told(statuses: list[int]) -> str:
    """What became of a trick, in words."""
    if not statuses:
        return "cut off"
    answers = ", ".join(map(str, statuses))
    return f"{answers}, and cut off" if len(statuses) == 1 else f"two requests to both: {answers}"
