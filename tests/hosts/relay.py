"""A port of this machine that leads to a host of the lab.

A process may be in two networks, but gRPC makes its connections in threads of its own.
"""

import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress

Connect = Callable[[], socket.socket]
PIECE = 65536


@contextmanager
def relayed(connect: Connect) -> Iterator[str]:
    """The address, for as long as the block lasts. `connect`: makes a connection to the host."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        host, port = listener.getsockname()
        threading.Thread(target=_accept, args=(listener, connect), daemon=True).start()
        try:
            yield f"{host}:{port}"
        finally:
            listener.shutdown(socket.SHUT_RDWR)


def _accept(listener: socket.socket, connect: Connect) -> None:
    with suppress(OSError):  # When it is closed.
        while True:
            inner, _ = listener.accept()
            threading.Thread(target=_carry, args=(inner, connect), daemon=True).start()


def _carry(inner: socket.socket, connect: Connect) -> None:
    with inner, connect() as outer:
        outer.settimeout(None)
        back = threading.Thread(target=_pass_on, args=(outer, inner))
        back.start()
        _pass_on(inner, outer)
        back.join()


def _pass_on(source: socket.socket, destination: socket.socket) -> None:
    with suppress(OSError):
        while piece := source.recv(PIECE):
            destination.sendall(piece)
    for end in (source, destination):
        with suppress(OSError):
            end.shutdown(socket.SHUT_RDWR)
