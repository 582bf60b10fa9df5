"""The MLflow host as a process of its own, on a free port, with its state in a temporary folder."""

import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx

SECONDS_TO_START = 600.0
SECONDS_TO_STOP = 20


@dataclass(frozen=True)
class Host:
    """A host that was started, and may have ended."""

    folder: Path
    port: int
    process: subprocess.Popen[bytes]

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    @property
    def errors(self) -> str:
        return (self.folder / "log").read_text()

    def log(self) -> list[dict[str, Any]]:
        """The events of its log; fails if a line is not JSON."""
        complete, _, _ = self.errors.rpartition("\n")
        return [json.loads(line) for line in complete.splitlines()]

    def wait_until_healthy(self) -> None:
        self._wait_for(self._is_healthy)

    def wait_for_event(self, **fields: Any) -> dict[str, Any]:
        """The first event of the log that has these fields."""

        def found() -> list[dict[str, Any]]:
            return [event for event in self.log() if fields.items() <= event.items()]

        self._wait_for(found)
        return found()[0]

    def _wait_for(self, condition: Callable[[], object]) -> None:
        deadline = time.monotonic() + SECONDS_TO_START
        while not condition():
            assert self.process.poll() is None, self.errors
            assert time.monotonic() < deadline, self.errors
            time.sleep(0.05)

    def _is_healthy(self) -> bool:
        try:
            return httpx.get(f"{self.url}/health", timeout=5).is_success
        except httpx.TransportError:
            return False

    def end(self) -> int:
        """Waits until it ends by itself, and returns its exit code."""
        return self.process.wait(SECONDS_TO_START)

    def stop(self) -> int:
        self.process.send_signal(signal.SIGTERM)
        return self.process.wait(SECONDS_TO_STOP)


Start = Callable[..., Host]


def free_port() -> int:
    with closing(socket.socket()) as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def start_host(folder: Path, *command: str, **variables: str) -> Host:
    """Runs a command of the host; `variables` are added to the lines of its env file."""
    port = int(variables.setdefault("MLFLOW_PORT", str(free_port())))
    variables = {
        "MLFLOW_BACKEND_STORE_URI": f"sqlite:///{folder}/state/mlflow.db",
        "MLFLOW_ARTIFACTS_DESTINATION": f"{folder}/state/artifacts",
        "STATE_DIRECTORY": f"{folder}/state",
        "MLFLOW_AUTH": "no",
        **variables,
    }
    env_file = folder / "env"
    env_file.write_text("".join(f"{name}={value}\n" for name, value in variables.items()))
    with (folder / "log").open("wb") as log, (folder / "out").open("wb") as out:
        process = subprocess.Popen(
            [sys.executable, "-m", "mlflow_host.cli", *command, "--env-file", str(env_file)],
            env={
                "PATH": os.environ["PATH"],
                "PYTHONPATH": os.pathsep.join(map(os.path.abspath, sys.path)),
            },
            cwd=folder,
            stdout=out,
            stderr=log,
        )
    return Host(folder, port, process)
