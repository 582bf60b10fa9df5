"""What a person sees while something takes longer than they like: lines on standard error."""

import time
from collections.abc import Iterator
from contextlib import contextmanager

from rich.console import Console
from rich.status import Status

HEARTBEAT_SECONDS = 10.0
"""How often a log, which shows no moving picture, is told what is being waited for."""


class Progress:
    """Steps that were done, with their time; on a terminal also what is being waited for."""

    def __init__(self, console: Console) -> None:
        self.console = console
        self._start = time.monotonic()
        self._told = self._start
        self._status: Status | None = console.status("") if console.is_terminal else None

    def done(self, what: str, seconds: float | None = None) -> None:
        """Something has happened, and took `seconds`."""
        self._told = time.monotonic()
        took = "" if seconds is None else f" ({seconds:.1f} s)"
        self.console.print(
            f"[dim]{self._told - self._start:6.1f} s[/]  {what}{took}",
            highlight=False,
            soft_wrap=True,
        )

    @contextmanager
    def step(self, done: str) -> Iterator[None]:
        """Tells `done` and its time at the end of a block, unless that failed."""
        start = time.monotonic()
        yield
        self.done(done, time.monotonic() - start)

    def waiting(self, what: str) -> None:
        """Something goes on; call it as often as you look."""
        now = time.monotonic()
        if self._status is not None:
            self._status.start()
            self._status.update(f"{what} ({now - self._start:.0f} s)")
        elif now - self._told >= HEARTBEAT_SECONDS:
            self.done(f"still {what}")

    def stop(self) -> None:
        """Takes the moving picture off the terminal."""
        if self._status is not None:
            self._status.stop()
