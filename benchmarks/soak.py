"""The API under load for as long as one likes, while models are promoted: nothing may go wrong.

    ./pants package ::
    ./pants run benchmarks/soak.py -- [--minutes 10] [--every 20] [--json FILE]

The load is a constant rate, a share of the peak that is measured first. At the end it says whether
the memory grew; the exit code is 1 if it did, or if a single answer was wrong or missing.
"""

import os
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Self

import click

from benchmarks.figures import Measurement, collect, measuring, output_option, show
from benchmarks.overload import NAMES, PEAK_CONNECTIONS, WARM_UP_SECONDS, goodput, milliseconds
from benchmarks.serving import client
from benchmarks.serving.comparison import START_SECONDS, launch
from benchmarks.serving.measure import Cores, Usage
from benchmarks.serving.models import Model
from benchmarks.serving.options import keep_option, settings_option
from benchmarks.serving.plan import Plan, Seen
from benchmarks.serving.promotion import Promoter
from benchmarks.serving.registry import registered
from benchmarks.serving.servers import SERVERS, Place, Start, free_port
from benchmarks.serving.slope import Slope
from dev_hosts.process import HostProcess, stop_all, wait_until_healthy
from dev_hosts.progress import Progress
from hostkit.cli import HostCommand

MINUTE_SECONDS = 60.0
PEAK_SECONDS = 5.0
DEADLINE_SECONDS = 1.0
SAMPLE_SECONDS = 5.0
"""How often the memory is read: it is more while a model is being loaded."""

WARM_UP_MINUTES = 1
"""At the start, when memory still grows to what the load needs."""

GROWTH = 1.0
"""What the memory may grow, in MB a minute."""


@click.command(cls=HostCommand, context_settings={"show_default": True})
@click.option("--model", "name", type=click.Choice(NAMES), default="forest-30")
@click.option("--minutes", type=click.IntRange(2, 10_000), default=10)
@click.option("--every", type=click.FloatRange(1, 3600), default=20.0, help="Seconds, a promotion.")
@click.option("--share", type=click.FloatRange(0.01, 1), default=0.8, help="Of the peak.")
@click.option("--connections", type=click.IntRange(1, 5000), default=256)
@settings_option
@keep_option
@output_option
def main(
    *,
    name: str,
    minutes: int,
    every: float,
    share: float,
    connections: int,
    settings: tuple[tuple[str, str], ...],
    keep: Path | None,
    output: Path | None,
) -> None:
    """Ask the API for minutes or hours while models are promoted, and see whether it stays well."""
    faults: list[str] = []
    with (
        measuring() as progress,
        registered([name], dict(settings), keep, progress) as (place, (model,)),
    ):
        soak = Soak(
            place,
            model,
            minutes=minutes,
            every=every,
            share=share,
            connections=connections,
        )
        figures = collect(soak.measure(progress, faults.append), progress)
    show(figures, output)
    for fault in faults:
        click.echo(fault, err=True)
    if faults:
        raise SystemExit(1)


class Soak:
    """The API with one model, those who ask it, and one who promotes."""

    def __init__(
        self,
        place: Place,
        model: Model,
        *,
        minutes: int,
        every: float,
        share: float,
        connections: int,
    ) -> None:
        self._start = Start(place, model, workers=1, port=free_port())
        self._cores = Cores.divided(sorted(os.sched_getaffinity(0)), workers=1)
        self._minutes, self._every, self._share = minutes, every, share
        self._connections = connections

    def measure(self, progress: Progress, fault: Callable[[str], None]) -> Iterator[Measurement]:
        """Starts the API, asks it, and stops it. What went wrong is told to `fault`."""
        process = launch(SERVERS["tripod"], self._start, self._cores)
        try:
            wait_until_healthy({"tripod": process}, progress, START_SECONDS)
            peak = self._peak(progress)
            yield "peak", "/s", peak
            with (
                Promoter(
                    self._start.place.mlflow_url, self._start.port, self._start.model.name
                ) as promoter,
                Promotions(promoter, self._every) as promotions,
                Memory(process) as memory,
            ):
                yield from self._minute_by_minute(peak * self._share, memory, progress, fault)
            yield "promotions", "", float(promotions.count)
            if promotions.fault:
                fault(f"a promotion failed: {promotions.fault}")
            slope = Slope.through(memory.after(WARM_UP_MINUTES * MINUTE_SECONDS))
            yield "memory grows by", "MB/min", slope.steepness * MINUTE_SECONDS
            yield "give or take", "MB/min", slope.spread * MINUTE_SECONDS
            if (slope.steepness - slope.spread) * MINUTE_SECONDS > GROWTH:
                fault(f"the memory grows by {slope.steepness * MINUTE_SECONDS:.1f} MB a minute")
        finally:
            stop_all([process])

    def _plan(self, seconds: float) -> Plan:
        plan = SERVERS["tripod"].plan(
            self._start, rows=1, connections=self._connections, seconds=seconds
        )
        return replace(plan, core=self._cores.client)

    def _peak(self, progress: Progress) -> float:
        progress.waiting("looking for the peak")
        client.run(replace(self._plan(WARM_UP_SECONDS), connections=PEAK_CONNECTIONS[0]))
        plan = self._plan(PEAK_SECONDS)
        return max(
            goodput(client.run(replace(plan, connections=count)), DEADLINE_SECONDS)
            for count in PEAK_CONNECTIONS
        )

    def _minute_by_minute(
        self, rate: float, memory: "Memory", progress: Progress, fault: Callable[[str], None]
    ) -> Iterator[Measurement]:
        for minute in range(1, self._minutes + 1):
            progress.waiting(f"minute {minute} of {self._minutes} at {rate:,.0f}/s")
            seen = client.run(replace(self._plan(MINUTE_SECONDS), rate=rate))
            yield f"minute {minute:3}: answered", "/s", len(seen.good) / seen.seconds
            yield f"minute {minute:3}: p99", "ms", milliseconds(seen.good)
            yield f"minute {minute:3}: memory", "MB", memory.last
            yield f"minute {minute:3}: wrong or missing", "", float(lost(seen))
            if lost(seen):
                fault(f"minute {minute}: {lost(seen)} answers were wrong or missing: {seen.fault}")


def lost(seen: Seen) -> int:
    """How many requests did not get their right answer."""
    return seen.wrong + seen.failed + seen.given_up + len(seen.refused)


class Beside:
    """Does something every now and then in a thread, for as long as a block runs."""

    def __init__(self, seconds: float) -> None:
        self._seconds = seconds
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._run)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        self._thread.join()

    def do(self) -> None:
        """What is to be done."""
        raise NotImplementedError

    def _run(self) -> None:
        while not self._over.wait(self._seconds):
            self.do()


class Promotions(Beside):
    """Promotes; `count` says how often, `fault` why it failed first."""

    def __init__(self, promoter: Promoter, seconds: float) -> None:
        super().__init__(seconds)
        self._promoter = promoter
        self.count = 0
        self.fault = ""

    def do(self) -> None:
        """Promotes once."""
        try:
            self._promoter.promote()
            self.count += 1
        except Exception as error:  # noqa: BLE001 - whatever it was, it is told at the end
            self.fault = self.fault or repr(error)


class Memory(Beside):
    """Reads the memory (PSS) of a process and its children: `samples` of moments and MB."""

    def __init__(self, process: HostProcess) -> None:
        super().__init__(SAMPLE_SECONDS)
        self._pid = process.pid
        self._begin = time.monotonic()
        self.samples: list[tuple[float, float]] = []
        self.do()

    @property
    def last(self) -> float:
        """What was read last."""
        return self.samples[-1][1]

    def do(self) -> None:
        """Reads it once."""
        self.samples.append((time.monotonic() - self._begin, Usage.read(self._pid).memory))

    def after(self, seconds: float) -> list[tuple[float, float]]:
        """What was read after the first seconds."""
        return [(moment, size) for moment, size in self.samples if moment >= seconds]


if __name__ == "__main__":
    main(prog_name="benchmarks/soak.py")
