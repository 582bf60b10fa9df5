"""What a person sees while a command takes longer than they like: how much of it is done."""

import time
from typing import Self

from rich.console import Console
from rich.filesize import decimal
from rich.status import Status

SECONDS_OF_SILENCE = 2.0
SECONDS_BETWEEN_LINES = 10.0
"""How often a log is told, which shows no moving picture."""


class Progress:
    """Tells what is being done, once it takes a while. A context, which ends the telling."""

    def __init__(self, console: Console | None = None) -> None:
        self._console = console or Console(stderr=True)
        self._start = time.monotonic()
        self._told = self._start + SECONDS_OF_SILENCE - SECONDS_BETWEEN_LINES
        self._status: Status | None = None
        self._doing = ""
        self._bytes = 0

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        if self._status is not None:
            self._status.stop()

    def doing(self, what: str) -> None:
        """Something begins, for instance "copying artifacts"."""
        self._doing, self._bytes = what, 0
        self._tell()

    def moved(self, count: int) -> None:
        """So many bytes more are done."""
        self._bytes += count
        self._tell()

    def _tell(self) -> None:
        now = time.monotonic()
        if now - self._start < SECONDS_OF_SILENCE:
            return
        line = f"{self._doing} ({decimal(self._bytes)})" if self._bytes else self._doing
        if self._console.is_terminal:
            if self._status is None:
                self._status = self._console.status(line)
                self._status.start()
            self._status.update(line)
        elif now - self._told >= SECONDS_BETWEEN_LINES:
            self._told = now
            self._console.print(line, highlight=False, soft_wrap=True)
