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
listener = inherited()
print(os.getpid(), listener.getsockname()[1] if listener else None, flush=True)
if not listener:
    others = [os.open(os.devnull, os.O_RDONLY) for _ in range(int(sys.argv[1]))]
    listener = socket.create_server(("127.0.0.1", 0))
    print(listener.getsockname()[1], flush=True)
if "AGAIN" not in os.environ:
    become_anew(listener, {**os.environ, "AGAIN": "1"})
"""


# Its descriptor is the very one that is handed over, or another.
@pytest.mark.parametrize("others", [0, 5])
def test_the_same_process_listens_on_the_same_socket(others: int) -> None:
    result = subprocess.run(
        [sys.executable, "-c", PROGRAM, str(others)],
        env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
        capture_output=True,
        text=True,
        check=True,
    )
    first, port, second = result.stdout.splitlines()
    process, before = first.split()
    assert before == "None"
    assert second.split() == [process, port]


def test_an_address_is_known_by_its_names() -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
        assert listens_on(listener, "127.0.0.1", port)
        assert listens_on(listener, "localhost", port)
        assert not listens_on(listener, "0.0.0.0", port)
        assert not listens_on(listener, "127.0.0.1", 1)
        assert not listens_on(listener, "no such name", port)
