"""The three hosts on this machine, started together from their PEX files and stopped together."""

import fcntl
import os
import shutil
import subprocess
from collections.abc import Iterable, Mapping
from pathlib import Path
from types import TracebackType
from typing import Self

import httpx

from dev_hosts import env_files
from dev_hosts.errors import DevError
from dev_hosts.pexes import Pexes
from dev_hosts.ports import LOOPBACK, Ports, check_free
from dev_hosts.process import (
    Health,
    HostProcess,
    Program,
    adopt_orphans,
    stop_all,
    wait_until_healthy,
)
from dev_hosts.progress import Progress
from hostkit.files import write_atomically

START_SECONDS = 600.0
"""How long the hosts may take to become healthy; on a busy machine, a first start takes minutes."""

FREE_BYTES = 2 * 1024**3
"""What the unpacked PEX files and a training run need at least."""

_INHERITED = (
    "HOME",
    "LANG",
    "LC_ALL",
    "PATH",
    "SSL_CERT_FILE",
    "REQUESTS_CA_BUNDLE",
    "TMPDIR",
    "TZ",
    "USER",
)
AIRFLOW_COMPONENTS = ("api-server", "scheduler", "dag-processor", "triggerer")


class Hosts:
    """MLflow, the four processes of Airflow, and the API: a context manager that stops them all.

    `state`: the folder that keeps everything: an env file, the data and the logs of each host.
    `pexes`: what to run.
    `ports`: where each host listens.
    """

    def __init__(self, state: Path, pexes: Pexes, ports: Ports) -> None:
        self.state = state.resolve()
        self.urls = env_files.urls(ports)
        self.ports = ports
        self._pexes = pexes
        self._programs: dict[str, Program] = {}
        self._processes: dict[str, HostProcess] = {}
        self._lock: int | None = None

    def __enter__(self) -> Self:
        make_state(self.state)
        self._lock = _lock(self.state)
        files = env_files.write_env_files(self.state, self.ports)
        self._programs = {
            program.name: program
            for program in _programs(self.state, self._pexes, files, self.urls)
        }
        adopt_orphans()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.stop()
        if self._lock is not None:
            os.close(self._lock)

    @property
    def names(self) -> tuple[str, ...]:
        """The processes by name: "mlflow", "airflow scheduler", "api" and so on."""
        return tuple(self._programs)

    @property
    def grpc(self) -> str:
        """The address and port of the API's gRPC."""
        return f"{LOOPBACK}:{self.ports.grpc}"

    @property
    def credentials(self) -> tuple[str, str]:
        """The user and the password for Airflow."""
        return env_files.airflow_credentials(self.state)

    @property
    def logs(self) -> Path:
        """The folder of the log files."""
        return self.state / "logs"

    def connect(self, name: str) -> httpx.Client:
        """A client of the host "mlflow", "airflow" or "api"."""
        return httpx.Client(base_url=self.urls[name], timeout=30, trust_env=False)

    def log(self, name: str) -> Path:
        """The log file of a process."""
        return self._programs[name].log

    def process(self, name: str) -> HostProcess:
        """A process that was started."""
        return self._processes[name]

    def start(self, progress: Progress, names: Iterable[str] | None = None) -> None:
        """Starts processes, by default all, and waits until each is healthy.

        Raises `DevError` where a port is taken, and `HostDiedError`
        where a process dies or is late.
        """
        if names is None:
            names = self.names
            check_free(self.ports)
        self._share_signing_key(progress)
        starting = {name: HostProcess(self._programs[name]) for name in names}
        self._processes |= starting
        wait_until_healthy(starting, progress, START_SECONDS)

    def _share_signing_key(self, progress: Progress) -> None:
        """Lets the API know the key of the models that Airflow trains."""
        file = env_files.public_key(self.state)
        if file.exists():
            return
        airflow = self._programs["airflow scheduler"]
        command = [airflow.python, str(airflow.pex), "signing-key", *airflow.arguments[-2:]]
        with progress.step("the API has the key of Airflow's models"):
            asked = subprocess.run(
                command, env=dict(airflow.environment), capture_output=True, text=True, check=False
            )
            if asked.returncode:
                raise DevError(_errors(asked.stderr) or f"{airflow.pex} tells no key of models")
            write_atomically(file, asked.stdout)

    def stop(self, names: Iterable[str] | None = None) -> None:
        """Stops processes, by default all, with everything that they started."""
        stopping = [name for name in (names or self.names) if name in self._processes]
        stop_all([self._processes.pop(name) for name in stopping])

    def check_running(self) -> None:
        """Raises `HostDiedError` if a process has died."""
        for process in self._processes.values():
            if not process.is_running():
                raise process.fail("has died")


def _errors(text: str) -> str:
    """What a command that failed says of it."""
    lines = text.splitlines()
    return "\n".join(line.removeprefix("error: ") for line in lines if line.startswith("error: "))


def make_state(state: Path) -> None:
    """Makes the folder that keeps everything. Raises `DevError` where there is no room for it."""
    try:
        state.mkdir(mode=0o700, parents=True, exist_ok=True)
        (state / "logs").mkdir(exist_ok=True)
    except OSError as error:
        raise DevError(
            f"{state} cannot be made ({error.strerror}): choose another with --state"
        ) from None
    free = shutil.disk_usage(state).free
    if free < FREE_BYTES:
        raise DevError(
            f"the disk of {state} has {free / 1024**2:.0f} MiB free, and"
            f" {FREE_BYTES / 1024**2:.0f} MiB are needed: make room, or choose another with --state"
        )


def _lock(state: Path) -> int:
    descriptor = os.open(state / "lock", os.O_CREAT | os.O_RDWR, 0o600)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        os.close(descriptor)
        raise DevError(
            f"{state} is in use by hosts that run: stop them, or choose another with --state"
        ) from None
    return descriptor


def _programs(
    state: Path, pexes: Pexes, files: Mapping[str, Path], urls: Mapping[str, str]
) -> Iterable[Program]:
    environment = _environment()

    def program(host: str, pex: Path, health: Health, component: str | None = None) -> Program:
        words = ("serve",) if component is None else ("serve", component)
        return Program(
            name=host if component is None else f"{host} {component}",
            pex=pex,
            arguments=(*words, "--env-file", str(files[host])),
            environment=environment,
            log=state / "logs" / (f"{host}-{component}.log" if component else f"{host}.log"),
            health=health,
        )

    yield program("mlflow", pexes.mlflow, Health(urls["mlflow"] + "/health"))
    for component in AIRFLOW_COMPONENTS:
        key = {"api-server": None, "dag-processor": "dag_processor"}.get(component, component)
        health = Health(urls["airflow"] + "/api/v2/monitor/health", key)
        yield program("airflow", pexes.airflow, health, component)
    yield program("api", pexes.api, Health(urls["api"] + "/livez"))


def _environment() -> dict[str, str]:
    """What the hosts see besides their env files: nothing that could change a setting."""
    inherited = {name: os.environ[name] for name in _INHERITED if name in os.environ}
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    # Where PEX files are unpacked to; HOME is unset where tests run.
    return {"HOME": str(Path.home()), "PEX_ROOT": str(cache / "tripod" / "pex"), **inherited}
