"""All servers side by side: started with the same model, and asked in turn, round by round."""

import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from typing import Self

from benchmarks.serving.measure import Alone, Cores, Outcome, ask
from benchmarks.serving.models import Model
from benchmarks.serving.servers import SERVERS, Place, Server, Start, free_port
from dev_hosts.process import HostProcess, stop_all, wait_until_healthy
from dev_hosts.progress import Progress

START_SECONDS = 180.0
WARM_UP = 0.25
"""The share of a measurement's time that its warm-up takes."""

ALONE = "model alone"
FEW_CONNECTIONS = 8
SWEEP_CONNECTIONS = 64
SWEEP = (0.25, 0.5, 0.75, 0.9, 1.0, 1.25, 1.5, 2.0)
"""Shares of a server's own best throughput that it is asked for in the sweep."""


@dataclass(frozen=True)
class Case:
    """What is asked: `model`, `rows` at a time, over `connections`, of `workers` processes."""

    model: str
    workers: int
    rows: int
    connections: int

    def __str__(self) -> str:
        workers = "1 worker" if self.workers == 1 else f"{self.workers} workers"
        rows = "1 row" if self.rows == 1 else f"{self.rows:,} rows"
        return f"{self.model}, {workers}, {rows}, {self.connections} connections"


@dataclass
class Result:
    """What was measured of one server in one case: an outcome a round.

    `rate`: how many requests were started a second; None: as many as were answered.
    """

    server: str
    case: Case
    outcomes: list[Outcome] = field(default_factory=list)
    rate: float | None = None


@dataclass(frozen=True)
class Matrix:
    """What is to be measured: each server with each number of rows and connections.

    `seconds`: of each measurement. `sweep`: whether also at constant rates.
    """

    servers: tuple[str, ...]
    rows: tuple[int, ...]
    connections: tuple[int, ...]
    rounds: int
    seconds: float
    sweep: bool

    @property
    def warm_up(self) -> float:
        """How many seconds come before each measurement."""
        return self.seconds * WARM_UP


class Comparison:
    """The servers of one model and number of workers, while they run: a context manager."""

    def __init__(
        self, place: Place, model: Model, workers: int, matrix: Matrix, progress: Progress
    ) -> None:
        self._place, self._model, self._workers = place, model, workers
        self._matrix, self._progress = matrix, progress
        self._cores = Cores.divided(sorted(os.sched_getaffinity(0)), workers)
        self._processes: dict[str, HostProcess] = {}
        self._starts: dict[str, Start] = {}
        self._alone: Alone | None = None

    def __enter__(self) -> Self:
        try:
            self._start()
        except BaseException:
            self.stop()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    def stop(self) -> None:
        """Stops all servers."""
        stop_all(self._processes.values())
        if self._alone:
            self._alone.stop()

    def _start(self) -> None:
        for name in self._matrix.servers:
            if name == ALONE:
                self._alone = Alone(
                    self._model,
                    self._place.api,
                    self._place.variables(PEX_INTERPRETER="1"),
                    min(self._cores.servers),
                )
                continue
            start = Start(self._place, self._model, self._workers, free_port())
            self._starts[name] = start
            self._processes[name] = launch(SERVERS[name], start, self._cores)
        wait_until_healthy(self._processes, self._progress, START_SECONDS)

    def cases(self) -> Iterator[Result]:
        """Measures every case, a result for each server."""
        for rows in self._matrix.rows:
            for connections in self._matrix.connections:
                case = Case(self._model.name, self._workers, rows, connections)
                results = {name: Result(name, case) for name in self._matrix.servers}
                for turn in range(self._matrix.rounds):
                    for name in rotated(self._matrix.servers, turn):
                        outcome = self._ask(name, case)
                        results[name].outcomes.append(outcome)
                        self._progress.done(f"{case}: {name} {outcome}")
                yield from results.values()

    def sweep(self) -> Iterator[Result]:
        """One row at a constant rate, from a quarter of what each server can do to twice that."""
        case = Case(self._model.name, self._workers, 1, SWEEP_CONNECTIONS)
        for name in self._processes:
            few = replace(case, connections=FEW_CONNECTIONS)
            best = max(self._ask(name, each).throughput for each in (few, case))
            for share in SWEEP:
                rate = round(best * share, 1)
                if rate <= 0:
                    continue
                outcome = self._ask(name, case, rate)
                self._progress.done(f"{case} at {rate:,.0f}/s: {name} {outcome}")
                yield Result(name, case, [outcome], rate)

    def _ask(self, name: str, case: Case, rate: float | None = None) -> Outcome:
        self._progress.waiting(f"asking {name}: {case}")
        if name == ALONE:
            assert self._alone is not None  # noqa: S101
            return self._alone.ask(case.rows, self._matrix.seconds)
        process = self._processes[name]
        if not process.is_running():
            raise process.fail("has died")
        plan = SERVERS[name].plan(
            self._starts[name],
            rows=case.rows,
            connections=case.connections,
            seconds=self._matrix.seconds,
        )
        plan = replace(plan, rate=rate, core=self._cores.client)
        return ask(process.pid, plan, self._matrix.warm_up)


def launch(server: Server, start: Start, cores: Cores) -> HostProcess:
    """Starts a server on its processors."""
    process = HostProcess(server.program(start))
    # At once, before it has threads or children, which run where their parent does.
    os.sched_setaffinity(process.pid, cores.servers)
    return process


def rotated(names: Sequence[str], turn: int) -> list[str]:
    """The same names, with another one first in each turn."""
    first = turn % len(names)
    return [*names[first:], *names[:first]]
