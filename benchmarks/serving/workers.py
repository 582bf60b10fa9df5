"""Runs a Python program several times on one socket, as systemd runs the API's workers.

    python workers.py PORT COUNT PROGRAM...

The last of them takes this process's place, and the others end with it. The socket is handed over
as sd_listen_fds(3) describes it.
"""

import ctypes
import os
import signal
import socket
import sys

LISTENER = 3
BACKLOG = 1024
PR_SET_PDEATHSIG = 1


def main() -> None:
    """Becomes the last of the workers."""
    port, count, program = int(sys.argv[1]), int(sys.argv[2]), sys.argv[3:]
    listener = socket.create_server(("127.0.0.1", port), backlog=BACKLOG)
    if listener.fileno() != LISTENER:
        os.dup2(listener.fileno(), LISTENER)
    os.set_inheritable(LISTENER, True)
    for _ in range(count - 1):
        if os.fork() == 0:
            ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGTERM, 0, 0, 0)
            break
    activation = {"LISTEN_PID": str(os.getpid()), "LISTEN_FDS": "1"}
    command = [sys.executable, *program]
    os.execve(command[0], command, {**os.environ, **activation})  # noqa: S606


if __name__ == "__main__":
    main()
