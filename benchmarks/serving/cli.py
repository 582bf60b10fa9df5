"""The API beside the servers that one would use instead of it, with the same models.

    ./pants package ::
    ./pants run benchmarks/serving/cli.py -- [--quick] [--json FILE] [--plot FILE.svg]

Everything runs on this machine's loopback address. The first run installs MLflow, MLServer and
BentoML below ~/.cache/tripod/serving.
"""

import os
from dataclasses import replace
from itertools import product
from pathlib import Path
from typing import Any

import click
from rich.console import Console

from benchmarks.figures import measuring, output_option
from benchmarks.serving import models, peers, plot, report
from benchmarks.serving.comparison import ALONE, SWEEP, Comparison, Matrix, Result
from benchmarks.serving.measure import Cores
from benchmarks.serving.options import Several, keep_option, settings_option
from benchmarks.serving.registry import registered
from benchmarks.serving.servers import SERVERS
from dev_hosts.progress import Progress
from hostkit.cli import HostCommand

DEFAULT_SERVERS = ("tripod", "mlflow", "mlserver", "bentoml", "floor", ALONE)
WIDTH = 140
"""Of what is no terminal."""

_CHOICES = f"Of {', '.join((*SERVERS, ALONE))}. The API speaks three protocols: tripod is MLflow's."


QUICK = {
    "columns": "30",
    "rows": "1",
    "connections": "8",
    "workers": "1",
    "rounds": 1,
    "seconds": 1.0,
    "sweep": False,
}
"""What `--quick` measures, unless another option says otherwise."""


def _quick(context: click.Context, _: click.Parameter, wanted: bool) -> None:
    if wanted:
        context.default_map = QUICK


@click.command(cls=HostCommand, context_settings={"show_default": True})
@click.option(
    "--models",
    "kinds",
    type=Several(str, models.KINDS),
    default=models.KINDS,
    help="What they are.",
)
@click.option(
    "--columns",
    type=Several(int, models.COLUMNS),
    default=models.COLUMNS,
    help="Of the models: 4 or 30.",
)
@click.option(
    "--servers", type=Several(str, (*SERVERS, ALONE)), default=DEFAULT_SERVERS, help=_CHOICES
)
@click.option("--rows", type=Several(int), default=(1, 100, 1000), help="In one request.")
@click.option("--connections", type=Several(int), default=(1, 8, 64), help="Of the client.")
@click.option("--workers", type=Several(int), default=(1, 2), help="Processes of each server.")
@click.option("--rounds", type=click.IntRange(1, 20), default=3)
@click.option("--seconds", type=click.FloatRange(0.2, 60), default=2.0, help="Of each measurement.")
@click.option(
    "--sweep/--no-sweep", default=True, help="Also ask at constant rates, beyond the best."
)
@click.option(
    "--quick",
    is_flag=True,
    is_eager=True,
    expose_value=False,
    callback=_quick,
    help="A first look.",
)
@settings_option
@keep_option
@click.option("--plot", "picture", type=click.Path(path_type=Path), help="Write an SVG file.")
@output_option
def main(
    *,
    kinds: tuple[str, ...],
    columns: tuple[int, ...],
    workers: tuple[int, ...],
    settings: tuple[tuple[str, str], ...],
    keep: Path | None,
    picture: Path | None,
    output: Path | None,
    **matrix: Any,
) -> None:
    """Compare the API with MLflow's server, MLServer and BentoML, and with its own floor.

    Several values have commas between them.
    """
    console = Console(highlight=False)
    if not console.is_terminal:
        console.width = WIDTH
    wanted = Matrix(**matrix)
    names = tuple(f"{kind}-{count}" for count in columns for kind in kinds)
    results: list[Result] = []
    try:
        with measuring() as progress:
            progress.done(_plan(wanted, len(names), workers))
            environments = _environments(wanted.servers, progress)
            with registered(names, dict(settings), keep, progress) as (plain, found):
                place = replace(plain, environments=environments)
                for model, count in product(found, workers):
                    with Comparison(place, model, count, wanted, progress) as comparison:
                        results.extend(comparison.cases())
                        if wanted.sweep and count == 1:
                            results.extend(comparison.sweep())
    finally:
        report.show(results, console)
        if output is not None:
            report.write(results, output)
        if picture is not None:
            picture.write_text(plot.draw(results))


def _environments(servers: tuple[str, ...], progress: Progress) -> dict[str, Path]:
    wanted = (SERVERS[name].environment for name in servers if name in SERVERS)
    return {name: peers.environment_of(name, progress) for name in wanted if name is not None}


def _plan(matrix: Matrix, count: int, workers: tuple[int, ...]) -> str:
    """What is going to happen, and how long that takes at least."""
    each = matrix.seconds + matrix.warm_up
    cases = len(matrix.rows) * len(matrix.connections) * matrix.rounds
    sweeps = len(SWEEP) + 1 if matrix.sweep and 1 in workers else 0
    total = count * len(matrix.servers) * each * (cases * len(workers) + sweeps)
    cores = sorted(os.sched_getaffinity(0))
    shared = [str(n) for n in workers if Cores.divided(cores, n).shared]
    return f"{total / 60:.0f} minutes of load at least, on {len(cores)} processors: " + (
        f"with {', '.join(shared)} workers, the client shares one with the server"
        if shared
        else "the client has one for itself"
    )


if __name__ == "__main__":
    main(prog_name="benchmarks/serving/cli.py")
