"""What was found out: tables for a person, JSON for a machine."""

import dataclasses
import json
import platform
from collections.abc import Iterable, Sequence
from pathlib import Path

from rich.console import Console
from rich.table import Table

from benchmarks.serving.comparison import Case, Result
from benchmarks.serving.spread import Spread, ratios, short

FIGURES = ("throughput", "p50", "p99", "cpu", "memory")
OURS = "tripod"


def by_case(results: Iterable[Result]) -> dict[Case, list[Result]]:
    """The results that stand beside each other."""
    found: dict[Case, list[Result]] = {}
    for result in results:
        if result.rate is None:
            found.setdefault(result.case, []).append(result)
    return found


def sweeps(results: Iterable[Result]) -> dict[str, list[Result]]:
    """The results at constant rates, by what was asked."""
    found: dict[str, list[Result]] = {}
    for result in results:
        if result.rate is not None:
            found.setdefault(str(result.case), []).append(result)
    return found


def values(result: Result, figure: str) -> list[float]:
    """A figure of each round."""
    return [float(getattr(outcome, figure)) for outcome in result.outcomes]


def faults(result: Result) -> int:
    """How many requests were not answered rightly, of all rounds."""
    return sum(each.wrong + each.failed + each.refused for each in result.outcomes)


def against(results: Sequence[Result], figure: str = "throughput") -> dict[tuple[str, str], Spread]:
    """How many times each other server's figure each of ours is, by the two names."""
    ours = [result for result in results if result.server.startswith(OURS)]
    others = [result for result in results if not result.server.startswith(OURS)]
    return {
        (one.server, other.server): ratios(values(one, figure), values(other, figure))
        for one in ours
        for other in others
    }


def show(results: Sequence[Result], console: Console) -> None:
    """Prints a table for each case, and one for each sweep."""
    for case, beside in by_case(results).items():
        columns = ("requests/s", "p50 ms", "p99 ms", "CPU µs", "memory MB", "bad")
        table = Table("server", *columns, box=None, title=str(case), title_justify="left")
        ours = [each.server for each in beside if each.server.startswith(OURS)]
        for one in ours:
            table.add_column(f"{one}: times as many")
            table.add_column(f"{one}: times the CPU")
        throughput, cpu = against(beside), against(beside, "cpu")
        for result in beside:
            pairs = [(one, result.server) for one in ours]
            table.add_row(
                result.server,
                *(str(Spread.of(values(result, figure))) for figure in FIGURES),
                str(faults(result) or ""),
                *(str(found.get(pair, "")) for pair in pairs for found in (throughput, cpu)),
            )
        console.print(table, "")
    for title, beside in sweeps(results).items():
        table = Table(
            "server",
            "rate",
            "answered/s",
            "p50 ms",
            "p99 ms",
            "bad",
            box=None,
            title=f"{title}, constant rates",
        )
        for result in beside:
            figures = (short(values(result, figure)[0]) for figure in FIGURES[:3])
            rate = short(result.rate or 0)
            table.add_row(result.server, rate, *figures, str(faults(result) or ""))
        console.print(table, "")


def document(results: Sequence[Result]) -> dict[str, object]:
    """Everything that was measured."""
    return {
        "machine": f"{platform.platform()}, Python {platform.python_version()}",
        "results": [dataclasses.asdict(result) for result in results],
        "ratios": [
            {**dataclasses.asdict(case), "ours": ours, "other": other, "figure": figure}
            | dataclasses.asdict(spread)
            for case, beside in by_case(results).items()
            for figure in FIGURES
            for (ours, other), spread in against(beside, figure).items()
        ],
    }


def write(results: Sequence[Result], path: Path) -> None:
    """Writes the JSON file."""
    path.write_text(json.dumps(document(results), indent=1))
