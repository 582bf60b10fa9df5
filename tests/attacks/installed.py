"""Attacks on an API that is installed, directly or through what is in front of it."""

import socket
from collections.abc import Callable
from contextlib import suppress
from typing import Protocol, TypeAlias

import httpx

PREDICT = "/v1/models/iris/predict"
AT_ONCE = 50
DRIPS = 20


class Target(Protocol):
    """What is attacked, by somebody whom it knows."""

    @property
    def name(self) -> str:
        """By which it is asked."""

    @property
    def shown(self) -> bytes:
        """The lines of a request's head that say who asks."""

    def connect(self) -> socket.socket:
        """A new connection."""

    def client(self) -> httpx.Client:
        """A new client, which shows who asks."""


Attack: TypeAlias = Callable[[Target], str]
"""Gives what happened, in words."""


def head(target: Target, *lines: str) -> bytes:
    """The beginning of a request for predictions."""
    begin = f"POST {PREDICT} HTTP/1.1\r\nHost: {target.name}\r\n".encode()
    return begin + target.shown + "".join(f"{line}\r\n" for line in lines).encode()


def _many(attack: Callable[[Target, socket.socket], None]) -> Attack:
    """Many connections at a time, each of which does something and is then left alone."""

    def attacks(target: Target) -> str:
        connections = [target.connect() for _ in range(AT_ONCE)]
        for connection in connections:
            with suppress(OSError):
                attack(target, connection)
        for connection in connections:
            connection.close()
        return f"{AT_ONCE} connections held, and served on"

    return attacks


def slowly(target: Target, connection: socket.socket) -> None:
    """Begins the headers of a request, and does not end them."""
    connection.sendall(head(target))
    for _ in range(DRIPS):
        connection.sendall(b"X: y\r\n")


def half_a_body(target: Target, connection: socket.socket) -> None:
    """Begins the body of a request, and does not end it."""
    connection.sendall(head(target, "Content-Length: 10000", "") + b"{")


def _bomb(body: bytes, **headers: str) -> Attack:
    """One body, which is refused."""

    def attack(target: Target) -> str:
        given = {"Content-Type": "application/json"}
        given |= {name.replace("_", "-"): value for name, value in headers.items()}
        with target.client() as attacker:
            answer = attacker.post(PREDICT, content=body, headers=given)
        kind = answer.json()["type"].rpartition(":")[2]
        return f"{answer.status_code} {kind}"

    return attack


def _many_headers(target: Target) -> str:
    with target.client() as attacker:
        headers = {f"X-{index}": "y" for index in range(200)}
        answer = attacker.get("/v1/models", headers=headers)
    return str(answer.status_code)


ATTACKS: dict[str, Attack] = {
    "headers that do not end": _many(slowly),
    "half of a body": _many(half_a_body),
    "nothing after the handshake": _many(lambda _, __: None),
    "arrays in arrays": _bomb(b'{"rows":' + b"[" * 10_000),
    "a zip bomb": _bomb(b"\x1f\x8b" + bytes(10_000), Content_Encoding="gzip"),
    "a body that is too large": _bomb(b" " * 17_000_000),
    "a string that is too long": _bomb(b'{"rows":[["' + b"y" * 100_000 + b'"]]}'),
    "too many columns": _bomb(b'{"rows":[[' + b"1," * 20_000 + b"1]]}"),
    "200 headers": _many_headers,
}
