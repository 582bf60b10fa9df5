"""What benchmarks measured, for a person and for a machine."""

import dataclasses
import json
import statistics
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path

import click
from rich.console import Console
from rich.table import Table

from dev_hosts.progress import Progress

EXIT_INTERRUPTED = 130

Measurement = tuple[str, str, float]
"""A name, a unit ("s", "MB") and a value."""


output_option = click.option(
    "--json", "output", type=click.Path(path_type=Path), help="Write the figures to a file."
)
"""Where `show` is to write, too."""


@dataclasses.dataclass(frozen=True)
class Figure:
    """One figure, measured once a round.

    `name`: what was measured. `unit`: "s" or "MB". `values`: one a round.
    """

    name: str
    unit: str
    values: tuple[float, ...]

    def __str__(self) -> str:
        middle = statistics.median(self.values)
        spread = f"{min(self.values):.1f} to {max(self.values):.1f}"
        return (
            f"{middle:.1f} {self.unit} ({spread})"
            if len(self.values) > 1
            else f"{middle:.1f} {self.unit}"
        )


@contextmanager
def measuring() -> Iterator[Progress]:
    """Says on standard error what is being done. Ctrl-C ends the block, and quietly the program."""
    progress = Progress(Console(stderr=True))
    try:
        yield progress
    except KeyboardInterrupt:
        raise SystemExit(EXIT_INTERRUPTED) from None
    finally:
        progress.stop()


def collect(measurements: Iterable[Measurement], progress: Progress) -> list[Figure]:
    """Takes the measurements of all rounds and tells each; ends the progress."""
    values: dict[tuple[str, str], list[float]] = {}
    try:
        for name, unit, value in measurements:
            values.setdefault((name, unit), []).append(value)
            progress.done(f"{name}: {value:.1f} {unit}")
    finally:
        progress.stop()
    return [Figure(name, unit, tuple(found)) for (name, unit), found in values.items()]


def show(figures: Iterable[Figure], output: Path | None) -> None:
    """Prints a table, and writes a JSON file if `output` names one."""
    figures = list(figures)
    if output is not None:
        output.write_text(json.dumps([dataclasses.asdict(figure) for figure in figures], indent=2))
    table = Table("figure", "median (spread)", box=None)
    for figure in figures:
        table.add_row(figure.name, str(figure))
    Console(highlight=False).print(table)
