"""What a service tells systemd, sd_notify(3): that it is ready, that it is well, how it is.

Nothing is sent where nobody listens, as in a terminal.
"""

import os
import socket

READY = "READY=1"
RELOADING = "RELOADING=1"
STOPPING = "STOPPING=1"
WATCHDOG = "WATCHDOG=1"

LISTENER = "NOTIFY_SOCKET"
"""The variable by which systemd says where it listens."""

_MICROSECONDS = 1_000_000


def listened_to() -> bool:
    """Whether this process is a service that is to say how it is."""
    return bool(os.environ.get(LISTENER))


def send(*messages: str) -> None:
    """Sends assignments such as `READY`, all at once."""
    address = os.environ.get(LISTENER)
    if not address:
        return
    if address.startswith("@"):  # A name that is in no folder: unix(7).
        address = "\0" + address[1:]
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sender:
        try:
            sender.connect(address)
            sender.sendall("\n".join(messages).encode())
        except OSError:
            pass  # Whoever listened is gone, and a service goes on all the same.


def status(sentence: str) -> str:
    """The message that `systemctl status` shows."""
    return "STATUS=" + " ".join(sentence.split())


def extension(seconds: float) -> str:
    """The message that a start or a stop may take this much longer from now on."""
    return f"EXTEND_TIMEOUT_USEC={round(seconds * _MICROSECONDS)}"


def watchdog_seconds() -> float:
    """How soon systemd ends a service of which it does not hear; infinite for never."""
    microseconds = os.environ.get("WATCHDOG_USEC", "")
    return int(microseconds) / _MICROSECONDS if microseconds.isdecimal() else float("inf")
