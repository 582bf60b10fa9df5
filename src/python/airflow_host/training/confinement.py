"""Work on what strangers wrote: in a process of its own, with so much memory and time.

Some broken files crash their reader, and some small ones unpack to more than a machine has.
"""

import os
import resource
from collections.abc import Callable
from multiprocessing import get_context
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Generic, TypeVar

Result = TypeVar("Result")


class ConfinedError(Exception):
    """The work came to no end: it crashed, or took more than it may."""


class _Outcome(Generic[Result]):
    """What came of the work: a result, or an error."""

    def __init__(self, result: Result | None = None, error: Exception | None = None) -> None:
        self.result = result
        self.error = error


def confined(work: Callable[[], Result], *, memory_bytes: int, seconds: float) -> Result:
    """What `work` returns or raises. Raises `ConfinedError` where it does neither.

    `memory_bytes`: what it may take beyond what this process has.
    `seconds`: of a processor, up to the next whole one.
    """
    context = get_context("fork")
    receiver, sender = context.Pipe(duplex=False)
    process = context.Process(target=_work, args=(work, sender, memory_bytes, seconds))
    process.start()
    sender.close()
    try:
        outcome: _Outcome[Result] = receiver.recv()
    except EOFError:
        raise ConfinedError from None
    finally:
        receiver.close()
        process.kill()
        process.join()
    if outcome.error is not None:
        raise outcome.error
    return outcome.result  # type: ignore[return-value]


def _work(
    work: Callable[[], Result], sender: Connection, memory_bytes: int, seconds: float
) -> None:
    _limit(resource.RLIMIT_AS, _memory() + memory_bytes)
    _limit(resource.RLIMIT_CPU, int(seconds) + 1)
    try:
        outcome: _Outcome[Result] = _Outcome(work())
        sender.send(outcome)
    except MemoryError:
        pass
    except Exception as error:  # noqa: BLE001 (whatever it is, who asked for the work gets it)
        sender.send(_Outcome(error=error))
    os._exit(0)  # Nothing of what this process inherited is to be tidied up twice.


def _limit(kind: int, most: int) -> None:
    _, hard = resource.getrlimit(kind)
    most = most if hard == resource.RLIM_INFINITY else min(most, hard)
    resource.setrlimit(kind, (most, most))


def _memory() -> int:
    pages = int(Path("/proc/self/statm").read_text(encoding="ascii").split()[0])
    return pages * resource.getpagesize()
