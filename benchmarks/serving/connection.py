"""A connection of the client's: a request goes out, and an answer comes in, bit by bit."""

import json
import socket
from dataclasses import dataclass
from typing import Any

LOOPBACK = "127.0.0.1"
PIECE = 256 * 1024
"""The most that is read at once, in bytes."""


class Connection:
    """One connection, and the request that is on it."""

    def __init__(self, port: int) -> None:
        self.socket = socket.create_connection((LOOPBACK, port))
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.socket.setblocking(False)
        self.number = self.socket.fileno()
        self.planned: float | None = None
        self.which = 0
        self.unsent = memoryview(b"")
        self.received = bytearray()

    def greet(self, request: bytes, seconds: float) -> None:
        """Asks something, and waits for any answer: by then the server has accepted this.

        Raises `OSError` where there is none within `seconds`, or the server closes it then.
        """
        self.socket.settimeout(seconds)
        self.socket.sendall(request)
        while (answer := self.receive()) is None:
            pass
        if answer.is_last:
            raise ConnectionError("the server closes a connection")
        self.socket.setblocking(False)

    def ask(self, request: bytes, which: int, planned: float) -> None:
        """Begins a request."""
        self.planned, self.which = planned, which
        self.unsent = memoryview(request)
        self.received.clear()
        self.send()

    def send(self) -> None:
        """Sends as much as the socket takes."""
        try:
            while self.unsent:
                self.unsent = self.unsent[self.socket.send(self.unsent) :]
        except BlockingIOError:
            pass

    def receive(self) -> "Answer | None":
        """The answer, once it is whole. Raises `ConnectionError` where it cannot become so."""
        try:
            piece = self.socket.recv(PIECE)
        except BlockingIOError:
            return None
        if not piece:
            raise ConnectionError("the server closed a connection")
        self.received += piece
        return parse(self.received)


@dataclass(frozen=True)
class Answer:
    """What came back; `is_last`: the server closes the connection after it."""

    status: int
    body: bytes
    is_last: bool


def parse(received: bytes | bytearray) -> Answer | None:
    """An HTTP/1.1 answer, or None as long as it is not whole."""
    end = received.find(b"\r\n\r\n")
    if end < 0:
        return None
    head, begin = bytes(received[:end]).lower(), end + 4
    body = (
        _chunks(received, begin)
        if b"\r\ntransfer-encoding: chunked" in head
        else _measured(received, begin, head)
    )
    if body is None:
        return None
    return Answer(int(head[9:12]), body, b"\r\nconnection: close" in head)


def _measured(received: bytes | bytearray, begin: int, head: bytes) -> bytes | None:
    name = b"\r\ncontent-length:"
    at = head.find(name)
    length = int(head[at + len(name) :].split(b"\r\n", 1)[0]) if at >= 0 else 0
    return bytes(received[begin : begin + length]) if len(received) >= begin + length else None


def _chunks(received: bytes | bytearray, begin: int) -> bytes | None:
    whole = b""
    while (line := received.find(b"\r\n", begin)) >= 0:
        size = int(received[begin:line].split(b";")[0], 16)
        begin = line + 2 + size + 2
        if len(received) < begin:
            return None
        if size == 0:
            return whole
        whole += received[line + 2 : line + 2 + size]
    return None


def predictions(body: bytes, where: str) -> Any:
    """The predictions that an answer holds; see `Plan`."""
    document = json.loads(body)
    match where:
        case "predictions":
            return document["predictions"]
        case "outputs":
            return document["outputs"][0]["data"]
        case _:
            return document
