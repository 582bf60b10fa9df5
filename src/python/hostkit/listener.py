"""The socket that a server inherits, and leaves to the process that takes its place.

Both as sd_listen_fds(3) describes it, so that systemd and a server's own predecessor look alike.
"""

import fcntl
import os
import socket
import sys
from collections.abc import Mapping, Sequence

FIRST = 3
"""The descriptor of the first socket that is handed over."""


def inherited(place: int = 0) -> socket.socket | None:
    """The socket that listens for this process already, if there is one.

    `place`: of several, which one.
    It is a copy: to close it is not to stop listening.
    """
    if os.environ.get("LISTEN_PID") != str(os.getpid()):
        return None
    if place >= int(os.environ.get("LISTEN_FDS") or 0):
        return None
    return socket.socket(fileno=os.dup(FIRST + place))


def listens_on(listener: socket.socket, host: str, port: int) -> bool:
    """Whether a socket listens on this address. One that is a file was chosen on purpose."""
    if listener.family == socket.AF_UNIX:
        return True
    try:
        wanted = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    except OSError:
        return False
    return listener.getsockname()[:2] in [address[:2] for *_, address in wanted]


def become_anew(listeners: Sequence[socket.socket], environment: Mapping[str, str]) -> None:
    """Runs the program of this process again in its place: same process ID, same sockets."""
    # Away from where they are to be, so that none takes the place of one that is yet to move.
    beyond = FIRST + len(listeners)
    copies = [fcntl.fcntl(each.fileno(), fcntl.F_DUPFD_CLOEXEC, beyond) for each in listeners]
    for place, copy in enumerate(copies, FIRST):
        os.dup2(copy, place)  # Which the program inherits.
    activation = {"LISTEN_PID": str(os.getpid()), "LISTEN_FDS": str(len(listeners))}
    sys.stdout.flush()
    sys.stderr.flush()
    os.execve(sys.executable, sys.orig_argv, {**environment, **activation})  # noqa: S606
