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
COLUMNS = ("answered/s", "p50 ms", "p99 ms", "CPU µs", "memory MB")
"""What a person reads for each of these figures."""

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
    """Prints the figures and the ratios of each case, and of each sweep what was answered."""
    for case, beside in by_case(results).items():
        console.print(_figures(str(case), beside), "")
        compared = {figure: against(beside, figure) for figure in FIGURES}
        if pairs := list(compared["throughput"]):
            table = _table(f"{case}: ratios", "ratio", *COLUMNS)
            for pair in pairs:
                table.add_row(" : ".join(pair), *(str(found[pair]) for found in compared.values()))
            console.print(table, "")
    for title, beside in sweeps(results).items():
        console.print(_rates(f"{title}, constant rates", beside), "")


def _figures(title: str, beside: Sequence[Result]) -> Table:
    table = _table(title, "server", *COLUMNS, "bad answers")
    for result in beside:
        spreads = (str(Spread.of(values(result, figure))) for figure in FIGURES)
        table.add_row(result.server, *spreads, str(faults(result) or ""))
    return table


def _rates(title: str, beside: Sequence[Result]) -> Table:
    table = _table(title, "server", "asked/s", *COLUMNS[:3], "bad answers")
    for result in beside:
        figures = (short(values(result, figure)[0]) for figure in FIGURES[:3])
        table.add_row(result.server, short(result.rate or 0), *figures, str(faults(result) or ""))
    return table


def _table(title: str, *columns: str) -> Table:
    return Table(*columns, box=None, title=title, title_justify="left")


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
