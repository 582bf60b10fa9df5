"""The airflow host as processes of its own, on a free port, with its state in a folder."""

import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any, TypeVar

import httpx

PEX = Path("airflow_host.pex")
"""Where Pants puts it; without Pants, the sources run."""

COMPONENTS = ("api-server", "scheduler", "dag-processor", "triggerer")
SECONDS_TO_START = 600.0
SECONDS_TO_STOP = 30.0

USERNAME = "airflow"
PASSWORD = "airflow"

Found = TypeVar("Found")


class Host:
    """A folder with an env file, and the processes that were started with it."""

    def __init__(self, folder: Path, **variables: str) -> None:
        self.folder = folder
        self.port = _free_port()
        self.home = folder / "home"
        self.dags = folder / "dags"
        self.processes: dict[str, subprocess.Popen[bytes]] = {}
        self.variables = {
            "AIRFLOW_PUBLIC_URL": self.url,
            "MLFLOW_TRACKING_URI": "http://127.0.0.1:1",
            "API_SERVER_URL": "http://127.0.0.1:1",
            "AIRFLOW_USERNAME": USERNAME,
            "AIRFLOW_PASSWORD": PASSWORD,
            "AIRFLOW_HOME": str(self.home),
            "AIRFLOW_DAGS_FOLDER": str(self.dags),
            "AIRFLOW__API__PORT": str(self.port),
            **variables,
        }

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def client(self, password: str = PASSWORD, username: str = USERNAME) -> httpx.Client:
        return httpx.Client(
            base_url=self.url, auth=(username, password), timeout=30, trust_env=False
        )

    def run(self, *command: str) -> subprocess.CompletedProcess[str]:
        """Runs a command to its end."""
        process = self._start(*command, output=subprocess.PIPE, errors=subprocess.PIPE)
        output, errors = process.communicate(timeout=SECONDS_TO_START)
        return subprocess.CompletedProcess(
            command, process.returncode, output.decode(), errors.decode()
        )

    def serve(self, *components: str) -> None:
        """Starts components, which the host stops when it is closed."""
        for component in components:
            with self.log_file(component).open("ab") as log:
                self.processes[component] = self._start("serve", component, output=log, errors=log)

    def log_file(self, component: str) -> Path:
        return self.folder / f"{component}.log"

    def events(self, component: str) -> list[dict[str, Any]]:
        """The log of a component; fails if a line is not JSON."""
        complete, _, _ = self.log_file(component).read_text().rpartition("\n")
        return [json.loads(line) for line in complete.splitlines()]

    def wait_for(
        self, condition: Callable[[], Found | None], seconds: float = SECONDS_TO_START
    ) -> Found:
        """What a condition returns once it is true, as long as all processes live."""
        deadline = time.monotonic() + seconds
        while True:
            found = condition()
            if found:
                return found
            for component, process in self.processes.items():
                assert process.poll() is None, self.log_file(component).read_text()
            assert time.monotonic() < deadline, self._last_words()
            time.sleep(0.1)

    def wait_until_up(self) -> None:
        """Returns when the api-server answers."""
        self.wait_for(lambda: self.health("/api/v2/monitor/health"))

    def health(self, path: str) -> dict[str, dict[str, str]] | None:
        try:
            answer = httpx.get(f"{self.url}{path}", timeout=5, trust_env=False)
        except httpx.TransportError:
            return None
        health: dict[str, dict[str, str]] = answer.json()
        return health

    def stop(self, *components: str) -> dict[str, int]:
        """Sends SIGTERM to each and returns their exit codes."""
        for component in components:
            self.processes[component].send_signal(signal.SIGTERM)
        return {name: self.processes.pop(name).wait(SECONDS_TO_STOP) for name in components}

    def close(self) -> None:
        for process in self.processes.values():
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()

    def _start(self, *command: str, output: Any, errors: Any) -> subprocess.Popen[bytes]:
        env_file = self.folder / "env"
        env_file.write_text("".join(f"{name}={text}\n" for name, text in self.variables.items()))
        program = [str(PEX.absolute())] if PEX.exists() else ["-m", "airflow_host.cli"]
        return subprocess.Popen(
            [sys.executable, *program, *command, "--env-file", str(env_file)],
            cwd=self.folder,
            env=_environment(),
            stdout=output,
            stderr=errors,
            start_new_session=True,
        )

    def _last_words(self) -> str:
        logs = [self.log_file(component) for component in self.processes]
        return "\n".join(f"{log.name}: {log.read_text()[-2000:]}" for log in logs)


def _environment() -> dict[str, str]:
    environment = {name: os.environ[name] for name in ("PATH", "HOME") if name in os.environ}
    if PEX.exists():
        # Unpacked once for all tests: it is large.
        return environment | {"PEX_ROOT": str(PEX.absolute().parent / ".pex")}
    return environment | {"PYTHONPATH": os.pathsep.join(map(os.path.abspath, sys.path))}


def _free_port() -> int:
    with closing(socket.socket()) as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port
