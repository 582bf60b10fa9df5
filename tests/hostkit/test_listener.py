"""Programs that become themselves anew, and go on listening."""

import os
import socket
import subprocess
import sys

import pytest

from hostkit.listener import listens_on

PROGRAM = """
import os, socket, sys
from hostkit.listener import become_anew, inherited
listeners = [each for place in range(3) if (each := inherited(place))]
print(os.getpid(), *(each.getsockname()[1] for each in listeners), flush=True)
if not listeners:
    others = [os.open(os.devnull, os.O_RDONLY) for _ in range(int(sys.argv[1]))]
    listeners = [socket.create_server(("127.0.0.1", 0)) for _ in range(2)]
    listeners.sort(key=socket.socket.fileno, reverse=sys.argv[2] == "reverse")
    print(*(each.getsockname()[1] for each in listeners), flush=True)
if "AGAIN" not in os.environ:
    become_anew(listeners, {**os.environ, "AGAIN": "1"})
"""


# Their descriptors are the very ones that are handed over, also in another order, or are not.
@pytest.mark.parametrize("others", [0, 5])
@pytest.mark.parametrize("order", ["forward", "reverse"])
def test_the_same_process_listens_on_the_same_sockets(others: int, order: str) -> None:
    result = subprocess.run(
        [sys.executable, "-c", PROGRAM, str(others), order],
        env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
        capture_output=True,
        text=True,
        check=True,
    )
    process, ports, after = result.stdout.splitlines()
    assert after == f"{process} {ports}"


def test_an_address_is_known_by_its_names() -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
        assert listens_on(listener, "127.0.0.1", port)
        assert listens_on(listener, "localhost", port)
        assert not listens_on(listener, "0.0.0.0", port)
        assert not listens_on(listener, "127.0.0.1", 1)
        assert not listens_on(listener, "no such name", port)
