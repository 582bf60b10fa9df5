"""What the API does when it is asked for more than it can do.

    ./pants package ::
    ./pants run benchmarks/overload.py -- [--models forest-30] [--rounds 1] [--json FILE]

In turn: as many clients as the server can serve, its peak; and requests at a constant rate,
whatever becomes of the others, from 0.8 to 5 times the peak before. All the time somebody asks for
/livez and /metrics. A request that finds every connection in use is given up by the client. The API
knows by when an answer is of use. With `--set API_BATCH_ROWS=1` no request goes with another.
"""

import json
import os
from collections.abc import Iterator
from dataclasses import replace
from itertools import chain
from pathlib import Path

import click

from benchmarks.figures import Measurement, collect, measuring, output_option, show
from benchmarks.serving import client, models
from benchmarks.serving.comparison import START_SECONDS, launch
from benchmarks.serving.load import REFUSALS
from benchmarks.serving.measure import SECONDS_TO_MILLISECONDS, Cores
from benchmarks.serving.models import Model
from benchmarks.serving.options import Several, keep_option, settings_option
from benchmarks.serving.plan import Plan, Seen
from benchmarks.serving.registry import registered
from benchmarks.serving.servers import SERVERS, Place, Start, free_port
from benchmarks.serving.spread import percentile
from dev_hosts.process import HostProcess, stop_all, wait_until_healthy
from dev_hosts.progress import Progress
from hostkit.cli import HostCommand

NAMES = tuple(f"{kind}-{columns}" for columns in models.COLUMNS for kind in models.KINDS)
SHARES = (0.8, 1.0, 2.0, 5.0)
"""Of the peak."""

PEAK_CONNECTIONS = (8, 64)
"""How many clients the peak is looked for with: many are more than a slow model answers in time."""

WARM_UP_SECONDS = 1.0
PROBES = ("/livez", "/metrics")
PROBES_A_SECOND = 20.0
PROBE_CONNECTIONS = 20
"""So many that a probe does not wait for the answer to another."""

ONE_ADDRESS = {"API_MAX_CONNECTIONS_PER_ADDRESS": "1000"}
"""All clients come from one, and the limit for it is not what is measured."""

SLOW = {"MODEL_COMPILE": "no"}
"""What makes a forest slow: its original predicts."""


@click.command(cls=HostCommand, context_settings={"show_default": True})
@click.option("--models", "names", type=Several(str, NAMES), default=("logistic-30", "forest-30"))
@click.option("--connections", type=click.IntRange(1, 5000), default=512)
@click.option(
    "--deadline", type=click.FloatRange(0.01, 60), default=1.0, help="Seconds that count."
)
@click.option("--rounds", type=click.IntRange(1, 20), default=1)
@click.option("--seconds", type=click.FloatRange(0.5, 60), default=5.0, help="Of each measurement.")
@settings_option
@keep_option
@output_option
def main(
    *,
    names: tuple[str, ...],
    connections: int,
    deadline: float,
    rounds: int,
    seconds: float,
    settings: tuple[tuple[str, str], ...],
    keep: Path | None,
    output: Path | None,
) -> None:
    """Ask the API for more than it can do, and see what becomes of whom.

    Forests are served by the original scikit-learn model, which is slow.
    """
    with (
        measuring() as progress,
        registered(names, dict(settings), keep, progress) as (place, found),
    ):
        measured = chain.from_iterable(
            Overload(place, model, connections, deadline, seconds).measure(progress)
            for model in found
            for _ in range(rounds)
        )
        figures = collect(measured, progress)
    show(figures, output)


class Overload:
    """The API with one model, and those who ask it."""

    def __init__(
        self, place: Place, model: Model, connections: int, deadline: float, seconds: float
    ) -> None:
        slow = SLOW if model.name.startswith("forest") else {}
        known = {"API_PREDICT_TIMEOUT_SECONDS": f"{deadline:g}"}
        place = replace(place, settings={**ONE_ADDRESS, **known, **slow, **place.settings})
        self._start = Start(place, model, workers=1, port=free_port())
        self._cores = Cores.divided(sorted(os.sched_getaffinity(0)), workers=1)
        self._connections, self._deadline, self._seconds = connections, deadline, seconds

    def measure(self, progress: Progress) -> Iterator[Measurement]:
        """Starts the API, finds its peak, asks for more, and stops it."""
        process = launch(SERVERS["tripod"], self._start, self._cores)
        try:
            wait_until_healthy({"tripod": process}, progress, START_SECONDS)
            yield from self._figures(process, progress)
        finally:
            stop_all([process])

    def _figures(self, process: HostProcess, progress: Progress) -> Iterator[Measurement]:
        name = self._start.model.name
        progress.waiting(f"looking for the peak of {name}")
        closed = SERVERS["tripod"].plan(
            self._start, rows=1, connections=self._connections, seconds=self._seconds
        )
        closed = replace(closed, core=self._cores.client)
        client.run(replace(closed, connections=PEAK_CONNECTIONS[0], seconds=WARM_UP_SECONDS))
        closed = replace(closed, connections=self._best(closed))
        for share in SHARES:
            # A machine is quicker at one moment than at another.
            progress.waiting(f"measuring the peak of {name}")
            peak = self._peak(closed)
            yield f"{name} before {share:g}x: peak", "/s", peak
            progress.waiting(f"asking {name} for {share:g} times its peak")
            rate = max(peak * share, 1.0)
            plan = replace(closed, connections=self._connections, rate=rate, patience=0.0)
            log = Path(process.program.log)
            offset = log.stat().st_size
            seen, *probes = self._together(plan)
            prefix = f"{name} at {share:g}x"
            yield f"{prefix}: goodput", "/s", goodput(seen, self._deadline)
            yield f"{prefix}: goodput of the peak", "%", 100 * goodput(seen, self._deadline) / peak
            yield f"{prefix}: answered, p99", "ms", milliseconds(seen.good)
            yield f"{prefix}: refused", "/s", len(seen.refused) / seen.seconds
            if seen.refused:
                yield f"{prefix}: refused, p99 for the client", "ms", milliseconds(seen.refused)
            # Connections that are refused have no line.
            if within := refusals(log, offset):
                yield f"{prefix}: refused, p99 in the server", "ms", percentile(within, 0.99)
            yield f"{prefix}: no connection free", "/s", seen.given_up / seen.seconds
            yield f"{prefix}: wrong or failed", "", seen.wrong + seen.failed
            for path, probe in zip(PROBES, probes, strict=True):
                yield f"{prefix}: {path}, p99", "ms", milliseconds(probe.good)
                yield f"{prefix}: {path}, not answered", "", probe.failed + probe.given_up

    def _best(self, plan: Plan) -> int:
        return max(PEAK_CONNECTIONS, key=lambda count: self._peak(replace(plan, connections=count)))

    def _peak(self, plan: Plan) -> float:
        return goodput(self._together(plan)[0], self._deadline)

    def _together(self, plan: Plan) -> list[Seen]:
        """What the load and each of the probes saw."""
        nothing = replace(plan, bodies=(), answers=(), answers_in="", rate=PROBES_A_SECOND)
        probes = [
            replace(nothing, path=path, connections=PROBE_CONNECTIONS, patience=float("inf"))
            for path in PROBES
        ]
        clients = [client.start(each) for each in (plan, *probes)]
        return [client.finish(each) for each in clients]


def goodput(seen: Seen, deadline: float) -> float:
    """Right answers a second that came within `deadline` seconds."""
    return sum(latency <= deadline for latency in seen.good) / seen.seconds


def milliseconds(latencies: tuple[float, ...]) -> float:
    """The 99th percentile."""
    return percentile(latencies, 0.99) * SECONDS_TO_MILLISECONDS


def refusals(log: Path, offset: int) -> list[float]:
    """How many milliseconds each refusal took in the server, by its access log after `offset`.

    Those that have one line together took no longer than it says.
    """
    with log.open("rb") as lines:
        lines.seek(offset)
        found = [json.loads(line) for line in lines if line.startswith(b"{")]
    refused = [line for line in found if line.get("status") in REFUSALS]
    return [float(line["ms"]) for line in refused for _ in range(line.get("count", 1))]


if __name__ == "__main__":
    main(prog_name="benchmarks/overload.py")
