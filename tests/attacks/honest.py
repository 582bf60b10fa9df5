"""Clients that do nothing wrong, and are to be served whatever others do."""

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, TypeAlias

import httpx

MOST_SECONDS = 60

Ask: TypeAlias = Callable[[], str | None]
"""Asks once, and says why the answer is not right, if it is not."""


@dataclass(frozen=True)
class _Answer:
    """One that was asked for; `failure` says why it is not right, if it is not."""

    start: float
    end: float
    failure: str | None


class Honest:
    """A client that asks without a pause.

    `what`: what the answers are called.
    """

    def __init__(self, ask: Ask, what: str) -> None:
        self._ask = ask
        self._what = what
        self._answers: list[_Answer] = []
        self._changed = threading.Condition()
        self._ended = False

    def saw(self, start: float) -> str:
        """What it saw from a moment on until now, in words; at least one whole answer.

        Raises `AssertionError` if one failed.
        """
        with self._changed:
            answered = self._changed.wait_for(
                lambda: any(each.start > start for each in self._answers), MOST_SECONDS
            )
            assert answered, f"none of the {self._what} within {MOST_SECONDS} s"
            seen = [each for each in self._answers if each.end > start]
        failures = [each.failure for each in seen if each.failure is not None]
        assert failures == [], failures
        longest = max(each.end - each.start for each in seen)
        return f"{len(seen)} {self._what}, none failed, {longest * 1000:.0f} ms at most"

    def run(self) -> None:
        """Asks until it is told to end."""
        while not self._ended:
            start = time.monotonic()
            failure = self._ask()
            with self._changed:
                self._answers.append(_Answer(start, time.monotonic(), failure))
                self._changed.notify_all()

    def end(self) -> None:
        """Makes the question under way the last."""
        self._ended = True


@contextmanager
def asking(ask: Ask, what: str) -> Iterator[Honest]:
    """An honest client, until the block ends."""
    honest = Honest(ask, what)
    thread = threading.Thread(target=honest.run)
    thread.start()
    try:
        yield honest
    finally:
        honest.end()
        thread.join()


@contextmanager
def predicting(client: httpx.Client, path: str, body: Any) -> Iterator[Honest]:
    """One that predicts, and gets what it got at first."""
    with repeating(client, client.build_request("POST", path, json=body), "predictions") as honest:
        yield honest


@contextmanager
def repeating(client: httpx.Client, request: httpx.Request, what: str) -> Iterator[Honest]:
    """One that sends the same request again and again, and gets what it got at first."""
    expected = client.send(request).raise_for_status().json()

    def ask() -> str | None:
        try:
            answer = client.send(request)
        except httpx.HTTPError as error:
            return f"{type(error).__name__}: {error}"
        is_right = answer.status_code == httpx.codes.OK and answer.json() == expected
        return None if is_right else f"{answer.status_code} {answer.text}"

    with asking(ask, what) as honest:
        yield honest
