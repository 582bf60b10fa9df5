"""Clients that do nothing wrong, and are to be served whatever others do."""

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import httpx

MOST_SECONDS = 60


@dataclass(frozen=True)
class _Prediction:
    """One that was asked for; `failure` says why it is not right, if it is not."""

    start: float
    end: float
    failure: str | None


class Honest:
    """A client that predicts without a pause.

    `expected`: the answer that is right.
    """

    def __init__(self, client: httpx.Client, path: str, body: Any, expected: Any) -> None:
        self._client = client
        self._path = path
        self._body = body
        self._expected = expected
        self._predictions: list[_Prediction] = []
        self._changed = threading.Condition()
        self._ended = False

    def saw(self, start: float) -> str:
        """What it saw from a moment on until now, in words; at least one whole prediction.

        Raises `AssertionError` if one failed.
        """
        with self._changed:
            answered = self._changed.wait_for(
                lambda: any(each.start > start for each in self._predictions), MOST_SECONDS
            )
            assert answered, f"no prediction within {MOST_SECONDS} s"
            seen = [each for each in self._predictions if each.end > start]
        failures = [each.failure for each in seen if each.failure is not None]
        assert failures == [], failures
        longest = max(each.end - each.start for each in seen)
        return f"{len(seen)} predictions, none failed, {longest * 1000:.0f} ms at most"

    def run(self) -> None:
        """Predicts until it is told to end."""
        while not self._ended:
            start = time.monotonic()
            failure = self._predict()
            with self._changed:
                self._predictions.append(_Prediction(start, time.monotonic(), failure))
                self._changed.notify_all()

    def end(self) -> None:
        """Makes the prediction under way the last."""
        self._ended = True

    def _predict(self) -> str | None:
        try:
            answer = self._client.post(self._path, json=self._body)
        except httpx.HTTPError as error:
            return f"{type(error).__name__}: {error}"
        is_right = answer.status_code == httpx.codes.OK and answer.json() == self._expected
        return None if is_right else f"{answer.status_code} {answer.text}"


@contextmanager
def predicting(client: httpx.Client, path: str, body: Any) -> Iterator[Honest]:
    """An honest client, from its first prediction until the block ends."""
    expected = client.post(path, json=body).raise_for_status().json()
    honest = Honest(client, path, body, expected)
    thread = threading.Thread(target=honest.run)
    thread.start()
    try:
        yield honest
    finally:
        honest.end()
        thread.join()
