"""How a client behaves that means harm: too slow, too much, or not at all."""

import select
import socket
import time

TICK_MILLISECONDS = 20


def is_cut(attacker: socket.socket, milliseconds: int = TICK_MILLISECONDS) -> bool:
    """Whether the server has ended a connection, as soon as it has."""
    poll = select.poll()
    poll.register(attacker, select.POLLRDHUP)
    return bool(poll.poll(milliseconds))


def say(attacker: socket.socket, words: bytes) -> None:
    """Says something, and nothing more."""
    attacker.sendall(words)


def drip(attacker: socket.socket, head: bytes, drops: bytes) -> None:
    """Sends a byte now and then."""
    attacker.sendall(head)
    for drop in map(bytes, zip(drops)):
        if is_cut(attacker):
            return
        attacker.sendall(drop)


def flood(attacker: socket.socket, head: bytes, piece: bytes) -> None:
    """Sends as much as the server takes, and reads nothing, for as long as the socket's timeout."""
    deadline = time.monotonic() + (attacker.gettimeout() or 0)
    attacker.sendall(head)
    while not is_cut(attacker, 0) and time.monotonic() < deadline:
        attacker.sendall(piece)


def half_close(attacker: socket.socket, words: bytes) -> None:
    """Says something, and that nothing more will come, but reads on."""
    attacker.sendall(words)
    attacker.shutdown(socket.SHUT_WR)
