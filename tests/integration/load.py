"""Clients that predict without a pause while something else happens."""

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

import httpx

CLIENTS = 4

PAUSE_SECONDS = 0.1
"""After which a client asks again that asked more than one caller may."""


@dataclass
class Load:
    """What the clients saw: status, version and predictions of each answer, and each failure."""

    answers: list[tuple[int, str, tuple[str, ...]]] = field(default_factory=list)
    errors: list[str] = field(default_factory=list)

    def versions(self) -> set[str]:
        """The versions that answered."""
        return {version for _, version, _ in self.answers}


@contextmanager
def predicting(url: str, rows: list[dict[str, float]]) -> Iterator[Load]:
    """Sends the same rows to a prediction URL, again and again, until the block ends."""
    load = Load()
    ended = threading.Event()
    clients = [
        threading.Thread(target=_predict, args=(url, rows, load, ended)) for _ in range(CLIENTS)
    ]
    for client in clients:
        client.start()
    try:
        yield load
    finally:
        ended.set()
        for client in clients:
            client.join()


def _predict(url: str, rows: list[dict[str, float]], load: Load, ended: threading.Event) -> None:
    with httpx.Client(timeout=30, trust_env=False) as client:
        while not ended.is_set():
            try:
                response = client.post(url, json={"rows": rows})
                if response.status_code == httpx.codes.TOO_MANY_REQUESTS:
                    ended.wait(PAUSE_SECONDS)
                    continue
                answer = response.json()
                load.answers.append(
                    (response.status_code, answer["model"]["version"], tuple(answer["predictions"]))
                )
            except (httpx.HTTPError, KeyError, ValueError) as error:
                load.errors.append(f"{type(error).__name__}: {error}")
