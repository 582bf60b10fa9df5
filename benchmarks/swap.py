"""What predictions wait for while another version of a model is loaded and takes over.

    ./pants package ::
    ./pants run benchmarks/swap.py -- [--models forest-30] [--rounds 3] [--json FILE]

Requests start at a constant rate. Meanwhile new versions are registered, one after the other with
a pause between them, so that rest and swaps are measured in the same moments of the machine.
"""

import os
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import chain
from pathlib import Path
from typing import Self

import click

from benchmarks.figures import Measurement, collect, measuring, output_option, show
from benchmarks.overload import NAMES, WARM_UP_SECONDS
from benchmarks.serving import client
from benchmarks.serving.comparison import START_SECONDS, launch
from benchmarks.serving.measure import SECONDS_TO_MILLISECONDS, Cores
from benchmarks.serving.models import Model
from benchmarks.serving.options import Several, keep_option, settings_option
from benchmarks.serving.plan import Plan, Seen
from benchmarks.serving.promotion import Promoter, Swap
from benchmarks.serving.registry import registered
from benchmarks.serving.servers import SERVERS, Place, Start, free_port
from benchmarks.serving.spread import percentile
from dev_hosts.process import stop_all, wait_until_healthy
from dev_hosts.progress import Progress
from hostkit.cli import HostCommand

AFTER_SECONDS = 0.1
"""What follows a swap and counts as part of it: the version that served goes out of memory."""

REST_SECONDS = 0.5
"""How long after a swap rest begins: what had to wait is being answered until then."""


@click.command(cls=HostCommand, context_settings={"show_default": True})
@click.option(
    "--models",
    "names",
    type=Several(str, NAMES),
    default=("forest-30", "logistic-30"),
    help="Which is asked, one after the other.",
)
@click.option(
    "--promoted", type=click.Choice(NAMES), default="forest-30", help="Which gets new versions."
)
@click.option("--rate", type=click.FloatRange(1, 10_000), default=500.0, help="Requests a second.")
@click.option("--connections", type=click.IntRange(1, 1000), default=32)
@click.option("--rounds", type=click.IntRange(1, 100), default=5)
@click.option("--seconds", type=click.FloatRange(2, 600), default=20.0, help="Of each round.")
@click.option(
    "--pause", type=click.FloatRange(0.2, 60), default=1.5, help="Seconds between two swaps."
)
@settings_option
@keep_option
@output_option
def main(
    *,
    names: tuple[str, ...],
    promoted: str,
    rate: float,
    connections: int,
    rounds: int,
    seconds: float,
    pause: float,
    settings: tuple[tuple[str, str], ...],
    keep: Path | None,
    output: Path | None,
) -> None:
    """Ask for predictions while new versions of a model are loaded, and see who waits for it."""
    trained = tuple(dict.fromkeys((*names, promoted)))
    with (
        measuring() as progress,
        registered(trained, dict(settings), keep, progress) as (place, found),
    ):
        asked = [model for model in found if model.name in names]
        measured = chain.from_iterable(
            Swaps(place, model, promoted, rate, connections, seconds, pause).measure(
                rounds, progress
            )
            for model in asked
        )
        figures = collect(measured, progress)
    show(figures, output)


@dataclass(frozen=True)
class Swaps:
    """The API with the model that is asked and the one that is promoted, and those who ask."""

    place: Place
    model: Model
    promoted: str
    rate: float
    connections: int
    seconds: float
    pause: float

    def measure(self, rounds: int, progress: Progress) -> Iterator[Measurement]:
        """Starts the API, measures it for some rounds, and stops it."""
        names = ",".join(dict.fromkeys((self.model.name, self.promoted)))
        place = replace(self.place, settings={"MODEL_NAMES": names, **self.place.settings})
        start = Start(place, self.model, workers=1, port=free_port())
        cores = Cores.divided(sorted(os.sched_getaffinity(0)), workers=1)
        plan = SERVERS["tripod"].plan(
            start, rows=1, connections=self.connections, seconds=self.seconds
        )
        plan = replace(plan, rate=self.rate, core=cores.client)
        process = launch(SERVERS["tripod"], start, cores)
        try:
            wait_until_healthy({"tripod": process}, progress, START_SECONDS)
            with Promoter(place.mlflow_url, start.port, self.promoted) as promoter:
                promoter.promote()
                client.run(replace(plan, seconds=WARM_UP_SECONDS))
                for number in range(rounds):
                    progress.waiting(f"round {number + 1} of {rounds} of {self.model.name}")
                    yield from self._round(plan, promoter)
        finally:
            stop_all([process])

    def _round(self, plan: Plan, promoter: Promoter) -> Iterator[Measurement]:
        asking = client.start(plan)
        swaps, end = [], time.monotonic() + self.seconds
        while time.monotonic() + self.pause < end:
            time.sleep(self.pause)
            swaps.append(promoter.promote())
        seen = client.finish(asking)
        parts = Parts.divide(seen, swaps)
        name = f"{self.model.name} while {self.promoted} is swapped"
        for what, latencies in (("at rest", parts.rest), ("during a swap", parts.swap)):
            for figure, share in (("p50", 0.5), ("p99", 0.99), ("max", 1.0)):
                value = percentile(latencies, share) * SECONDS_TO_MILLISECONDS
                yield f"{name}, {what}: {figure}", "ms", value
        yield f"{name}: p99 during a swap by p99 at rest", "x", parts.ratio
        yield f"{name}: a swap", "s", percentile([swap.seconds for swap in swaps], 0.5)
        yield f"{name}: requests during swaps", "", float(len(parts.swap))
        bad = seen.wrong + seen.failed + len(seen.refused) + seen.given_up
        yield f"{name}: wrong, failed or refused", "", float(bad)


@dataclass(frozen=True)
class Parts:
    """Latencies of requests that were due `at rest`, and of those due during a `swap`."""

    rest: tuple[float, ...]
    swap: tuple[float, ...]

    @classmethod
    def divide(cls, seen: Seen, swaps: Sequence[Swap]) -> Self:
        """Of what a client saw, by when it was to be asked."""
        during, rest = [], []
        for latency, due in zip(seen.good, seen.due, strict=True):
            if any(swap.start <= due <= swap.end + AFTER_SECONDS for swap in swaps):
                during.append(latency)
            elif not any(swap.start <= due <= swap.end + REST_SECONDS for swap in swaps):
                rest.append(latency)
        return cls(tuple(rest), tuple(during))

    @property
    def ratio(self) -> float:
        """How many times as long the slowest hundredth waited during a swap."""
        return percentile(self.swap, 0.99) / percentile(self.rest, 0.99)


if __name__ == "__main__":
    main(prog_name="benchmarks/swap.py")
