"""Attacks by HTTP/2: frames that are right one by one, and too many, or that make no sense."""

import socket
import struct
from collections.abc import Iterable

from tests.attacks.stranger import flood, say
from tests.attacks.target import Target, Words, head

DATA, HEADERS, PRIORITY, RST_STREAM, SETTINGS, PING, CONTINUATION = 0, 1, 2, 3, 4, 6, 9
WINDOW_UPDATE, UNKNOWN_KIND = 8, 200
END_STREAM, END_HEADERS = 1, 4
INITIAL_WINDOW_SIZE = 4

STREAMS = range(1, 1001, 2)

_LONGEST_IN_A_BYTE = 127

Header = tuple[str, str]


def frame(kind: int, flags: int, stream: int, payload: bytes = b"") -> bytes:
    """A frame, whether or not it makes sense."""
    return struct.pack(">I", len(payload))[1:] + struct.pack(">BBI", kind, flags, stream) + payload


def preface(settings: bytes = b"") -> bytes:
    """With which a client begins."""
    return b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + frame(SETTINGS, 0, 0, settings)


def packed(headers: Iterable[Header]) -> bytes:
    """Headers as HPACK has them where nothing is remembered (RFC 7541, 6.2.2)."""
    return b"".join(b"\0" + _text(name) + _text(value) for name, value in headers)


def asked(
    target: Target,
    path: str,
    method: str = "GET",
    stream: int = 1,
    *,
    ended: bool = True,
    more: Iterable[Header] = (),
) -> bytes:
    """The head of a request; `ended`: it has no body."""
    pseudo = {":method": method, ":path": path, ":scheme": "http", ":authority": target.name}
    shown = [(name.lower(), value) for name, value in target.shown.items()]
    headers = [*pseudo.items(), ("content-type", "application/json"), *shown, *more]
    flags = END_HEADERS | (END_STREAM if ended else 0)
    return frame(HEADERS, flags, stream, packed(headers))


def _text(text: str) -> bytes:
    """A string literal (RFC 7541, 5.2)."""
    value = text.encode()
    length = len(value)
    if length < _LONGEST_IN_A_BYTE:
        return bytes([length]) + value
    length -= _LONGEST_IN_A_BYTE
    digits = bytearray([_LONGEST_IN_A_BYTE])
    while length >= 128:
        digits.append(length % 128 + 128)
        length //= 128
    return bytes(digits) + bytes([length]) + value


def _taken_back(target: Target, attacker: socket.socket) -> None:
    """Many requests, each taken back at once."""
    requests = (
        asked(target, target.page, stream=stream) + frame(RST_STREAM, 0, stream, bytes(4))
        for stream in STREAMS
    )
    say(attacker, preface() + b"".join(requests))


def _one_taken_back(target: Target, attacker: socket.socket) -> None:
    request = asked(target, target.task, "POST", ended=False)
    say(attacker, preface() + request + frame(RST_STREAM, 0, 1, bytes(4)))


def _no_window(target: Target, attacker: socket.socket) -> None:
    """Answers are asked for, and none may be sent."""
    begin = preface(struct.pack(">HI", INITIAL_WINDOW_SIZE, 0))
    requests = (asked(target, target.page, stream=stream) for stream in range(1, 100, 2))
    say(attacker, begin + b"".join(requests))


def _unpacked(_: Target, attacker: socket.socket) -> None:
    """A header of 4000 bytes, 10 000 times, each in a byte."""
    large = b"\x40\x01x\x7f\xe1\x1e" + b"y" * 4000
    block = b"\x82\x84\x86" + large + b"\xbe" * 10**4
    say(attacker, preface() + frame(HEADERS, END_HEADERS | END_STREAM, 1, block))


def _many_headers(target: Target, attacker: socket.socket) -> None:
    many = [(f"x-{index}", "y") for index in range(200)]
    say(attacker, preface() + asked(target, "/livez", more=many))


def _again(kind: int, payload: bytes = b"") -> Words:
    """The same frame about the connection, without end."""

    def words(_: Target, attacker: socket.socket) -> None:
        flood(attacker, preface(), frame(kind, 0, 0, payload) * 1000)

    return words


def _data(path: str | None, piece: bytes) -> Words:
    """A body without end; `path`: where to, if not to what is there."""

    def words(target: Target, attacker: socket.socket) -> None:
        request = asked(target, path or target.task, "POST", ended=False)
        flood(attacker, preface() + request, piece)

    return words


def _upgraded(target: Target, attacker: socket.socket) -> None:
    more = ("Connection: Upgrade, HTTP2-Settings", "Upgrade: h2c", "HTTP2-Settings: AAAA", "")
    say(attacker, head(target, *more, method="GET", path=target.page))


FLOODS: dict[str, Words] = {
    "requests taken back": _taken_back,
    "headers of HTTP/2 without end": lambda _, attacker: flood(
        attacker, preface() + frame(HEADERS, 0, 1, b"\x82"), frame(CONTINUATION, 0, 1)
    ),
    "headers that unpack to many": _unpacked,
    "pings": _again(PING, bytes(8)),
    "settings": _again(SETTINGS),
    "priorities": lambda _, attacker: flood(
        attacker,
        preface(),
        b"".join(frame(PRIORITY, 0, stream, bytes(5)) for stream in range(1, 2001, 2)),
    ),
    "window updates of a byte": _again(WINDOW_UPDATE, b"\0\0\0\1"),
    "empty data": _data(None, frame(DATA, 0, 1) * 1000),
    "frames of an unknown kind": _again(UNKNOWN_KIND),
}
"""Whoever goes on so is cut off."""

QUIET: dict[str, Words] = {
    "HTTP/2 and nothing more": lambda _, attacker: say(attacker, preface()),
    "HTTP/2 by an upgrade that is garbage": _upgraded,
    "one request taken back": _one_taken_back,
    "no window for answers": _no_window,
    "data of HTTP/2 that nobody reads": _data("/nowhere", frame(DATA, 0, 1, bytes(1000))),
    "200 headers of HTTP/2": _many_headers,
    "a path that is not ASCII": lambda target, attacker: say(
        attacker, preface() + asked(target, "/\xff")
    ),
    "a tunnel": lambda target, attacker: say(attacker, preface() + asked(target, "/", "CONNECT")),
}
"""Their connections end as idle ones do, at the latest."""
