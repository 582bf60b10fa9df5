"""A process of a host: started from its PEX, logging to a file, stopped with all it started."""

import ctypes
import signal
import subprocess
import sys
import time
from collections.abc import Iterable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import httpx
import psutil

from dev_hosts.errors import HostDiedError
from dev_hosts.progress import Progress

STOP_SECONDS = 7.0
"""How long processes have to stop by themselves before they are killed."""

POLL_SECONDS = 0.1

_PR_SET_PDEATHSIG = 1
_PR_SET_CHILD_SUBREAPER = 36
_prctl = ctypes.CDLL(None).prctl


@dataclass(frozen=True)
class Health:
    """How to tell that a process is up.

    `url`: answers 200.
    `component`: what must be healthy in the answer of Airflow's `monitor/health`, if any.
    """

    url: str
    component: str | None = None

    def answers(self, client: httpx.Client) -> bool:
        """Whether it is up now."""
        try:
            response = client.get(self.url)
        except httpx.HTTPError:
            return False
        if not response.is_success:
            return False
        return self.component is None or response.json()[self.component]["status"] == "healthy"


@dataclass(frozen=True)
class Program:
    """What is to run.

    `name`: for a person, for instance "airflow scheduler".
    `pex`: the host's PEX file.
    `arguments`: its command line.
    `environment`: all variables that it sees.
    `log`: the file that takes its output; an earlier one's is kept.
    `health`: how to tell that it is up.
    `python`: what runs the PEX.
    """

    name: str
    pex: Path
    arguments: tuple[str, ...]
    environment: Mapping[str, str]
    log: Path
    health: Health
    python: str = sys.executable


class HostProcess:
    """A running program."""

    def __init__(self, program: Program) -> None:
        self.program = program
        self.started = time.monotonic()
        with program.log.open("ab") as log:
            self._log_start = log.tell()
            self._process = subprocess.Popen(
                [program.python, str(program.pex), *program.arguments],
                env=dict(program.environment),
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                # Ctrl-C in a terminal is for us to pass on.
                start_new_session=True,
                preexec_fn=_stop_with_parent,  # noqa: PLW1509
            )

    @property
    def pid(self) -> int:
        """The process id of the host's main process."""
        return self._process.pid

    def is_running(self) -> bool:
        """Whether the main process is alive."""
        return self._process.poll() is None

    def is_healthy(self, client: httpx.Client) -> bool:
        """Whether it answers that it is well. Raises `HostDiedError` if it has died."""
        if not self.is_running():
            raise HostDiedError(self._epitaph(f"ended with exit code {self._process.returncode}"))
        return self.program.health.answers(client)

    def fail(self, what: str) -> HostDiedError:
        """The error that says what happened to this process, with its last log lines."""
        return HostDiedError(self._epitaph(what))

    def send_signal(self, number: signal.Signals) -> None:
        """Sends a signal to the main process, if it still runs."""
        self._process.send_signal(number)

    def reap(self) -> None:
        """Waits for the end of a main process that was stopped or killed."""
        self._process.wait()

    def stop(self) -> None:
        """Stops it and everything that it started."""
        stop_all([self])

    def _epitaph(self, what: str) -> str:
        return f"{self.program.name} {what}; {self.program.log} ends with:\n{self._last_lines()}"

    def _last_lines(self, count: int = 15) -> str:
        with self.program.log.open("rb") as log:
            log.seek(self._log_start)
            lines = log.read().decode(errors="replace").splitlines()
        return "\n".join(lines[-count:]) or "(nothing)"


def wait_until_healthy(
    processes: Mapping[str, HostProcess], progress: Progress, seconds: float
) -> None:
    """Waits for processes that were started, by their names. Raises `HostDiedError`."""
    deadline = time.monotonic() + seconds
    waiting = dict(processes)
    with httpx.Client(timeout=5, trust_env=False) as client:
        while waiting:
            for name, process in list(waiting.items()):
                if process.is_healthy(client):
                    del waiting[name]
                    progress.done(f"{name} is healthy", time.monotonic() - process.started)
                elif time.monotonic() > deadline:
                    raise process.fail(f"was not healthy within {seconds:.0f} s")
            progress.waiting("starting " + ", ".join(waiting))
            time.sleep(POLL_SECONDS if waiting else 0)


def stop_all(processes: Iterable[HostProcess], seconds: float = STOP_SECONDS) -> None:
    """Asks all to stop, and kills what is left of them and their descendants after `seconds`."""
    processes = list(processes)
    family = [member for process in processes for member in _family(process.pid)]
    for process in processes:
        process.send_signal(signal.SIGTERM)
    _, alive = psutil.wait_procs(family, timeout=seconds)
    _kill(alive)
    for process in processes:
        process.reap()


def adopt_orphans() -> None:
    """Makes this process the parent of descendants whose own parent has died (prctl(2))."""
    _prctl(_PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)


def kill_descendants() -> None:
    """Kills whatever this process or its children ever started and still runs."""
    _kill(psutil.Process().children(recursive=True))


def _kill(processes: Iterable[psutil.Process]) -> None:
    processes = list(processes)
    for process in processes:
        with suppress(psutil.NoSuchProcess):
            process.kill()
    psutil.wait_procs(processes, timeout=STOP_SECONDS)


def _family(pid: int) -> list[psutil.Process]:
    try:
        process = psutil.Process(pid)
        return [process, *process.children(recursive=True)]
    except psutil.NoSuchProcess:
        return []


def _stop_with_parent() -> None:
    _prctl(_PR_SET_PDEATHSIG, signal.SIGTERM, 0, 0, 0)
