"""Tells systemd how a component of Airflow is: a small process beside it, in the same unit.

Airflow itself tells systemd nothing, and a component can hang alive: a scheduler whose loop waits
for ever on a lock has a process that looks well, so nothing starts it again. Only its heartbeat in
the database shows it, and the api-server tells of that to whoever asks.

It is a process rather than a thread of the component, because the scheduler forks a process for
each task: a fork copies the locks that other threads hold at that moment, but not the threads
that would release them. It imports nothing that is large, and ends with the component.
"""

import json
import os
import select
import socket
import subprocess
import sys
from collections.abc import Mapping
from typing import Any

from hostkit import notify

PATH = "/api/v2/monitor/health"
SECONDS_BETWEEN_LOOKS = 5.0
SECONDS_TO_ANSWER = 10.0

SECONDS_OF_PATIENCE = 60.0
"""How much longer a start may take whenever it is not the component that is late."""

API_SERVER = "api-server"

_INHERITED = ("NOTIFY_SOCKET", "PATH", "PYTHONPATH", "WATCHDOG_USEC")


def start(component: str, url: str) -> None:
    """Starts a watcher of this process, which is about to become the component.

    `url`: where the api-server is.
    """
    subprocess.run(
        [sys.executable, "-m", __name__, component, url, str(os.getpid())],
        env={name: os.environ[name] for name in _INHERITED if name in os.environ},
        stdin=subprocess.DEVNULL,
        check=True,
    )


def main() -> None:
    """Looks and tells, until the component's process has ended."""
    component, url, process = sys.argv[1:]
    component_ends = select.poll()
    component_ends.register(os.pidfd_open(int(process)), select.POLLIN)
    # Its parent returns, so that the component has no child of which it knows nothing.
    if os.fork():
        return
    os.setsid()
    watch = Watch(component)
    while not component_ends.poll(SECONDS_BETWEEN_LOOKS * 1000):
        if messages := watch.messages(ask(url)):
            notify.send(*messages)


class Watch:
    """What is known of a component, and what follows from the next look at it."""

    def __init__(self, component: str) -> None:
        self._component = component
        self._key = component.replace("-", "_")
        self._ready = False
        self._looked = False
        self._first_beat: object = None

    def messages(self, health: Mapping[str, Any] | None) -> list[str]:
        """What systemd is to be told.

        `health`: what the api-server answered; None if it did not.
        """
        if self._component == API_SERVER:
            return self._of_api_server(health)
        if health is None:
            return self._not_its_fault("the api-server does not answer")
        if health["metadatabase"]["status"] != "healthy":
            return self._not_its_fault("the database does not answer")
        return self._of_heartbeat(health.get(self._key) or {})

    def _of_api_server(self, health: Mapping[str, Any] | None) -> list[str]:
        if health is None:
            return []
        return self._well(f"answers; the database is {health['metadatabase']['status']}")

    def _of_heartbeat(self, state: Mapping[str, Any]) -> list[str]:
        beat = state.get(f"latest_{self._key}_heartbeat")
        if not self._looked:
            self._looked, self._first_beat = True, beat
        if state.get("status") != "healthy":
            return [notify.status(f"no heartbeat since {beat}")]
        # The first one may be of its predecessor.
        if not self._ready and beat == self._first_beat:
            return []
        return self._well(f"last heartbeat {beat}")

    def _well(self, sentence: str) -> list[str]:
        word = notify.WATCHDOG if self._ready else notify.READY
        self._ready = True
        return [word, notify.status(sentence)]

    def _not_its_fault(self, sentence: str) -> list[str]:
        word = notify.WATCHDOG if self._ready else notify.extension(SECONDS_OF_PATIENCE)
        return [word, notify.status(sentence)]


def ask(url: str) -> dict[str, Any] | None:
    """The health of all components, by a request that needs no library."""
    host, _, port = url.removeprefix("http://").rpartition(":")
    try:
        with socket.create_connection((host.strip("[]"), int(port)), SECONDS_TO_ANSWER) as server:
            server.sendall(f"GET {PATH} HTTP/1.0\r\nHost: localhost\r\n\r\n".encode())
            head, _, body = b"".join(iter(lambda: server.recv(65536), b"")).partition(b"\r\n\r\n")
        health: dict[str, Any] = json.loads(body)
        return health if head.split()[1] == b"200" and "metadatabase" in health else None
    except (OSError, ValueError, IndexError):
        return None


if __name__ == "__main__":
    main()
