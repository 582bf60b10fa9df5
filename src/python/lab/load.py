"""Clients that ask without a pause while something else happens, and count what they saw."""

import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Any

import httpx

from lab.client import connect, key_headers
from lab.lab import Lab

CLIENTS = 4
PAUSE_SECONDS = 0.005
TIMEOUT_SECONDS = 60.0
"""How long a client waits for an answer: longer than a restart takes on a busy machine."""


@dataclass(frozen=True)
class Answer:
    """What one client saw of one request.

    `began`, `ended`: moments, as `time.monotonic` tells them.
    `problem`: why it failed, or "" for an answer of 2xx.
    `document`: the JSON of a good answer.
    """

    began: float
    ended: float
    problem: str = ""
    document: Any = None


@dataclass
class Load:
    """What all clients saw.

    `answers`: one for each request.
    `began`: when the first client began.
    `ended`: when the last one ended, or None before that.
    """

    answers: list[Answer] = field(default_factory=list)
    began: float = field(default_factory=time.monotonic)
    ended: float | None = None

    @property
    def requests(self) -> int:
        """How many were sent and answered, or failed."""
        return len(self.answers)

    @property
    def failures(self) -> list[str]:
        """Why requests failed, one for each that did."""
        return [answer.problem for answer in self.answers if answer.problem]

    @property
    def longest_gap(self) -> float:
        """The longest time in seconds in which no good answer came."""
        good = sorted(answer.ended for answer in self.answers if not answer.problem)
        end = time.monotonic() if self.ended is None else self.ended
        moments = [self.began, *good, end]
        return max(after - before for before, after in pairwise(moments))

    def has_answered_since(self, moment: float) -> bool:
        """Whether a request that began after `moment` was answered well."""
        return any(answer.began > moment and not answer.problem for answer in self.answers[:])

    def __str__(self) -> str:
        return (
            f"{self.requests} requests, {len(self.failures)} failed,"
            f" longest gap {self.longest_gap:.2f} s"
        )


@contextmanager
def predicting(
    lab: Lab,
    rows: Sequence[Mapping[str, object]],
    *,
    url: str = "http://api:8000/v1/models/iris/predict",
    clients: int = CLIENTS,
    keep_alive: bool = True,
    timeout: float = TIMEOUT_SECONDS,
) -> Iterator[Load]:
    """Asks for predictions of the same rows, again and again, until the block ends."""
    headers = key_headers(lab)

    def predict(client: httpx.Client) -> httpx.Response:
        return client.post(url, json={"rows": rows}, headers=headers)

    with asking(lab, predict, clients=clients, keep_alive=keep_alive, timeout=timeout) as load:
        yield load


@contextmanager
def asking(
    lab: Lab,
    ask: Callable[[httpx.Client], httpx.Response],
    *,
    clients: int = CLIENTS,
    keep_alive: bool = True,
    timeout: float = TIMEOUT_SECONDS,
) -> Iterator[Load]:
    """Runs clients in the lab's network that do nothing but `ask`, until the block ends.

    `keep_alive`: whether a client keeps its connection, or makes a new one for each request.
    `timeout`: how many seconds a client waits for an answer.
    """
    load = Load()
    ended = threading.Event()

    def work() -> None:
        with connect(lab, keep_alive=keep_alive, timeout=timeout) as client:
            while not ended.wait(PAUSE_SECONDS):
                load.answers.append(_answer(client, ask))

    threads = [threading.Thread(target=work) for _ in range(clients)]
    for thread in threads:
        thread.start()
    try:
        yield load
    finally:
        ended.set()
        for thread in threads:
            thread.join()
        load.ended = time.monotonic()


def _answer(client: httpx.Client, ask: Callable[[httpx.Client], httpx.Response]) -> Answer:
    began = time.monotonic()
    try:
        response = ask(client)
        document = response.raise_for_status().json()
    except (httpx.HTTPError, ValueError) as error:
        return Answer(began, time.monotonic(), f"{type(error).__name__}: {error}")
    return Answer(began, time.monotonic(), document=document)
