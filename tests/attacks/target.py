"""What is attacked, by somebody whom it knows."""

import socket
from collections.abc import Callable, Mapping
from typing import Protocol, TypeAlias

import httpx

from tests.attacks.honest import Honest


class Target(Protocol):
    """A server that can be reached."""

    @property
    def name(self) -> str:
        """By which it is asked."""

    @property
    def shown(self) -> Mapping[str, str]:
        """The headers that say who asks."""

    @property
    def task(self) -> str:
        """A path to which bodies are sent."""

    @property
    def page(self) -> str:
        """A path whose answer is long."""

    def connect(self) -> socket.socket:
        """A new connection."""

    def client(self) -> httpx.Client:
        """A new client, which shows who asks."""


Attack: TypeAlias = Callable[[Target, Honest], str]
"""Gives what happened, in words."""

Words: TypeAlias = Callable[[Target, socket.socket], None]
"""What is said on one connection."""


def lines(headers: Mapping[str, str]) -> bytes:
    """Headers, as they are in the head of a request."""
    return "".join(f"{name}: {value}\r\n" for name, value in headers.items()).encode()


def head(target: Target, *more: str, method: str = "POST", path: str | None = None) -> bytes:
    """The beginning of a request by whom the target knows; without `path` for its task."""
    begin = _begin(target, method, path)
    return begin + lines(target.shown) + "".join(f"{line}\r\n" for line in more).encode()


def head_of_stranger(target: Target, *more: str, path: str | None = None) -> bytes:
    """The beginning of a request by whom it does not know."""
    return _begin(target, "POST", path) + "".join(f"{line}\r\n" for line in more).encode()


def _begin(target: Target, method: str, path: str | None) -> bytes:
    return f"{method} {path or target.task} HTTP/1.1\r\nHost: {target.name}\r\n".encode()
