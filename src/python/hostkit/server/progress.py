"""What a person sees while a command takes longer than they like: how much of it is done."""

import sys
import time
from typing import Self, TextIO

SECONDS_OF_SILENCE = 2.0
SECONDS_BETWEEN_LINES = 10.0
"""How often a log is told, where nothing can be written over."""
SECONDS_BETWEEN_PICTURES = 0.1

_OVER_THE_LINE = "\r\x1b[K"

_UNITS = ("bytes", "kB", "MB", "GB", "TB")


class Progress:
    """Tells what is being done, once it takes a while. A context, which ends the telling."""

    def __init__(self, stream: TextIO | None = None) -> None:
        self._stream = stream or sys.stderr
        self._over = self._stream.isatty()
        self._interval = SECONDS_BETWEEN_PICTURES if self._over else SECONDS_BETWEEN_LINES
        self._next = time.monotonic() + SECONDS_OF_SILENCE
        self._told = False
        self._doing = ""
        self._bytes = 0

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        if self._told and self._over:
            self._write(_OVER_THE_LINE)

    def doing(self, what: str) -> None:
        """Something begins, for instance "copying artifacts"."""
        self._doing, self._bytes = what, 0
        self._tell()

    def moved(self, count: int) -> None:
        """So many bytes more are done."""
        self._bytes += count
        self._tell()

    def _tell(self) -> None:
        if time.monotonic() < self._next:
            return
        self._next = time.monotonic() + self._interval
        self._told = True
        line = f"{self._doing} ({readable(self._bytes)})" if self._bytes else self._doing
        self._write(f"{_OVER_THE_LINE}{line}" if self._over else f"{line}\n")

    def _write(self, text: str) -> None:
        self._stream.write(text)
        self._stream.flush()


def readable(size: float) -> str:
    """A size in bytes as a person reads it: `1.5 GB`."""
    for unit in _UNITS[:-1]:
        if size < 1000:  # noqa: PLR2004
            return f"{size:.0f} {unit}" if unit == _UNITS[0] else f"{size:.1f} {unit}"
        size /= 1000
    return f"{size:.1f} {_UNITS[-1]}"
