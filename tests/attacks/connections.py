"""Attacks that hold connections, or are cut off."""

import re
import socket
import time
from contextlib import ExitStack, suppress

from tests.attacks.honest import Honest
from tests.attacks.stranger import flood, is_cut
from tests.attacks.target import Attack, Target, Words, head

AT_ONCE = 50
AT_ONCE_BY_HTTP2 = 10
DRIPS = 20
MOST_SECONDS = 60
PIECE = 65536
SECONDS_TO_FLOOD = 2.0
SECONDS_TO_SPEAK = 0.2
STATUS = re.compile(rb"HTTP/1\.[01] (\d{3}) ")


def held(words: Words, at_once: int = AT_ONCE) -> Attack:
    """Many connections at a time, which the attacker ends when the honest client was served."""

    def attack(target: Target, honest: Honest) -> str:
        with ExitStack() as held:
            for _ in range(at_once):
                connection = held.enter_context(target.connect())
                connection.settimeout(SECONDS_TO_SPEAK)
                with suppress(OSError):
                    words(target, connection)
            honest.saw(time.monotonic())
        return f"{at_once} connections held, and served on"

    return attack


def cut_off(words: Words) -> Attack:
    """One connection, which the server ends."""

    def attack(target: Target, _: Honest) -> str:
        start = time.monotonic()
        with target.connect() as attacker, suppress(ConnectionError):
            attacker.settimeout(MOST_SECONDS)
            words(target, attacker)
            assert is_cut(attacker, MOST_SECONDS * 1000), "not cut off"
        return f"cut off after {time.monotonic() - start:.1f} s"

    return attack


def endured(words: Words) -> Attack:
    """One connection that the server does not end for some seconds."""

    def attack(target: Target, _: Honest) -> str:
        assert not _is_cut_while(words, target), "cut off"
        return f"endured for {SECONDS_TO_FLOOD:.0f} s, and served on"

    return attack


def endured_or_cut_off(words: Words) -> Attack:
    """One connection that the server ends or not: by how quick its client is, it may do both."""

    def attack(target: Target, _: Honest) -> str:
        _is_cut_while(words, target)
        return f"endured for {SECONDS_TO_FLOOD:.0f} s or cut off, and served on"

    return attack


def _is_cut_while(words: Words, target: Target) -> bool:
    deadline = time.monotonic() + SECONDS_TO_FLOOD
    with target.connect() as attacker:
        attacker.settimeout(SECONDS_TO_FLOOD)
        try:
            with suppress(TimeoutError):
                words(target, attacker)
        except ConnectionError:
            return True
        return is_cut(attacker, round(max(0.0, deadline - time.monotonic()) * 1000))


def refused(words: Words) -> Attack:
    """One connection on which too much is sent; it is answered, and ended."""

    def attack(target: Target, _: Honest) -> str:
        with target.connect() as attacker:
            attacker.settimeout(MOST_SECONDS)
            with suppress(ConnectionError):
                words(target, attacker)
            statuses = received(attacker)
        assert statuses, "no answer"
        return f"{', '.join(map(str, statuses))}, and cut off"

    return attack


def received(connection: socket.socket) -> list[int]:
    """The statuses of the answers, when the connection has ended."""
    answer = b""
    with suppress(ConnectionError):
        while piece := connection.recv(PIECE):
            answer += piece
    return [int(status) for status in STATUS.findall(answer)]


def nothing(_: Target, __: socket.socket) -> None:
    """Says nothing."""


def flood_of_headers(target: Target, connection: socket.socket) -> None:
    """Headers without end."""
    flood(connection, head(target), b"x: y\r\n" * 100)


def flood_of_a_header(target: Target, connection: socket.socket) -> None:
    """One header without end."""
    flood(connection, head(target) + b"x: ", b"y" * 1000)


def slowly(target: Target, connection: socket.socket) -> None:
    """Begins the headers of a request, and does not end them."""
    connection.sendall(head(target))
    for _ in range(DRIPS):
        connection.sendall(b"X: y\r\n")


def half_a_body(target: Target, connection: socket.socket) -> None:
    """Begins the body of a request, and does not end it."""
    connection.sendall(head(target, "Content-Length: 10000", "") + b"{")
