"""What a doctor does: walks of steps, each of which says what it saw or what is wrong."""

import queue
import threading
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from functools import partial
from typing import TypeVar

from hostkit.doctor.report import StepReport, Verdict, WalkReport

STEP_SECONDS = 6.0
"""How long a step may take that has no deadline of its own."""

Result = TypeVar("Result")


class Fault(Exception):  # noqa: N818 (of what is examined, not of the doctor)
    """Why a step failed.

    `seen`: what was seen.
    `meaning`: what that usually means.
    `remedy`: what mends it: the line of an env file, or a command, and on which server.
    """

    def __init__(self, seen: str, meaning: str, remedy: str) -> None:
        super().__init__(seen)
        self.seen = seen
        self.meaning = meaning
        self.remedy = remedy


class Caution(Fault):
    """A step went well, and will not for long."""


class NothingToCheck(Exception):  # noqa: N818 (it is no error)
    """A step does not apply; its one argument says why."""


@dataclass(frozen=True)
class Step:
    """One thing that is looked at.

    `name`: one word, which docs/doctor.md explains.
    `check`: returns what it saw; raises `Fault`, `Caution` or `NothingToCheck`.
    `seconds`: how long it may take.
    """

    name: str
    check: Callable[[], str]
    seconds: float = STEP_SECONDS


@dataclass(frozen=True)
class Walk:
    """Steps of which each needs those before it, so that the first that fails is the last.

    `name`: by which `--link` chooses it.
    `target`: what is examined, and the setting that names it.
    `independent`: whether the steps need nothing of each other, so that all are done.
    """

    name: str
    target: str
    steps: tuple[Step, ...]
    independent: bool = False


def examine(walks: Iterable[Walk]) -> tuple[WalkReport, ...]:
    """Does all walks at once, and returns when the last is done."""
    pending = [_in_background(partial(_walk, walk)) for walk in walks]
    return tuple(result.get() for result in pending)


def _walk(walk: Walk) -> WalkReport:
    done = []
    for step in walk.steps:
        done.append(_take(step))
        if done[-1].verdict is Verdict.FAILED and not walk.independent:
            break
    return WalkReport(walk.name, walk.target, tuple(done))


def _take(step: Step) -> StepReport:
    start = time.monotonic()
    # In a thread of its own: a name server or a disk that does not answer cannot be interrupted.
    result = _in_background(partial(_outcome, step))
    try:
        verdict, seen, meaning, remedy = result.get(timeout=step.seconds)
    except queue.Empty:
        verdict, seen = Verdict.FAILED, f"nothing happened for {step.seconds:g} s"
        meaning = "Something that should answer at once does not answer at all."
        remedy = "Look at the load and at the network of both servers, then ask the doctor again."
    milliseconds = round((time.monotonic() - start) * 1000, 1)
    return StepReport(step.name, verdict, seen, milliseconds, meaning, remedy)


def _outcome(step: Step) -> tuple[Verdict, str, str | None, str | None]:
    try:
        return Verdict.PASSED, step.check(), None, None
    except NothingToCheck as reason:
        return Verdict.SKIPPED, str(reason), None, None
    except Fault as fault:
        verdict = Verdict.WARNED if isinstance(fault, Caution) else Verdict.FAILED
        return verdict, fault.seen, fault.meaning, fault.remedy
    except Exception as error:  # noqa: BLE001 - a doctor who faints helps nobody
        return (
            Verdict.FAILED,
            f"{type(error).__name__}: {error}",
            "The doctor does not know this one.",
            "What was seen is all there is; the logs of both servers may say more.",
        )


def _in_background(work: Callable[[], Result]) -> "queue.SimpleQueue[Result]":
    """Where the result of `work` will be; the process may end before it is there."""
    results: queue.SimpleQueue[Result] = queue.SimpleQueue()
    threading.Thread(target=lambda: results.put(work()), daemon=True).start()
    return results
