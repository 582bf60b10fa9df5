"""Waiting for something to become true, for so long and no longer."""

import time
from collections.abc import Callable
from typing import TypeVar

from lab.errors import LateError

POLL_SECONDS = 0.05

Answer = TypeVar("Answer")


def wait_for(look: Callable[[], Answer], seconds: float, what: str) -> Answer:
    """What `look` answers as soon as that is true. Raises `LateError`, which names `what`."""
    deadline = time.monotonic() + seconds
    while True:
        seen = look()
        if seen:
            return seen
        if time.monotonic() > deadline:
            raise LateError(f"{what} did not happen within {seconds:g} s (last seen: {seen!r})")
        time.sleep(POLL_SECONDS)
