"""Lines of the log as entries of systemd's journal, whose fields `journalctl` can search.

Standard error reaches the journal too, but then the whole line is one field. Its own protocol
(https://systemd.io/JOURNAL_NATIVE_PROTOCOL) is a datagram of `NAME=value` lines.
"""

import json
import logging
import os
import re
import socket
from collections.abc import Iterator, Mapping
from contextlib import suppress
from functools import lru_cache
from pathlib import Path
from typing import TextIO

SOCKET = "/run/systemd/journal/socket"
STREAM = "JOURNAL_STREAM"
"""Names the file that systemd made standard error of a service (systemd.exec(5))."""

_PRIORITIES = ((logging.CRITICAL, 2), (logging.ERROR, 3), (logging.WARNING, 4), (logging.INFO, 6))
_PRIORITY_OF_DEBUG = 7

_NAME = re.compile(r"[A-Z][A-Z0-9_]{0,63}")
_JOURNALS_OWN = re.compile(
    "MESSAGE.*|PRIORITY|CODE_.*|ERRNO|OBJECT_.*|SYSLOG_.*|.*UNIT|INVOCATION_ID|TID"
)


class Writer:
    """Sends lines of JSON with their fields; where that fails, writes them to the stream."""

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)

    def write(self, line: str, level: int) -> None:
        """Sends one line. `level`: as the standard library numbers it."""
        try:
            self._socket.sendto(entry(line, level), SOCKET)
        except OSError:  # Journald is being restarted, or the entry is too large for it.
            with suppress(OSError, ValueError):
                self._stream.write(f"{line}\n")
                self._stream.flush()


def send(line: str, *, identifier: str, level: int = logging.INFO) -> bool:
    """Sends one line of a program that is no service. Says whether there was a journal.

    `identifier`: by which `journalctl -t` finds it.
    """
    try:
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sender:
            sender.sendto(_encoded("SYSLOG_IDENTIFIER", identifier) + entry(line, level), SOCKET)
    except OSError:
        return False
    return True


def is_stream(stream: TextIO, environment: Mapping[str, str]) -> bool:
    """Whether what is written to a stream gets into the journal, and nowhere else."""
    try:
        state = os.fstat(stream.fileno())
    except (OSError, ValueError):
        return False
    return environment.get(STREAM) == f"{state.st_dev}:{state.st_ino}" and Path(SOCKET).exists()


def entry(line: str, level: int) -> bytes:
    """The entry for a line of JSON."""
    return b"".join(_encoded(name, text) for name, text in _fields(line, level))


def _fields(line: str, level: int) -> Iterator[tuple[str, str]]:
    yield "MESSAGE", line
    yield "PRIORITY", str(_priority(level))
    for key, value in json.loads(line).items():
        name = _name(key)
        if name and isinstance(value, str | int | float):
            yield name, value if isinstance(value, str) else json.dumps(value)


@lru_cache(1000)
def _name(key: str) -> str | None:
    """The field for a key; None if there may be none."""
    name = key.upper()
    return name if _NAME.fullmatch(name) and not _JOURNALS_OWN.fullmatch(name) else None


def _priority(level: int) -> int:
    """The level as syslog numbers it."""
    return next((number for least, number in _PRIORITIES if level >= least), _PRIORITY_OF_DEBUG)


def _encoded(name: str, text: str) -> bytes:
    value = text.encode(errors="replace")
    if b"\n" in value:  # Told by its length, or what comes after would be a field of its own.
        return name.encode() + b"\n" + len(value).to_bytes(8, "little") + value + b"\n"
    return name.encode() + b"=" + value + b"\n"
