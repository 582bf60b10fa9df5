"""A picture of a comparison, as SVG: throughput in each case, and latency at constant rates."""

import math
from collections.abc import Iterable, Sequence
from html import escape

from benchmarks.serving.comparison import ALONE, Result
from benchmarks.serving.report import by_case, sweeps, values
from benchmarks.serving.spread import Spread, short

WIDTH = 860
LABELS = 150
BAR = 18
CHART = 240
MARGIN = 16
COLOURS = {
    "tripod": "#0b6e4f",
    "tripod-v1": "#4f9d69",
    "tripod-v2": "#8fc9a3",
    "mlflow": "#1f77b4",
    "mlserver": "#b23a48",
    "bentoml": "#e07a2f",
    "floor": "#555555",
    ALONE: "#a0a0a0",
}
"""Of each server."""


def draw(results: Sequence[Result]) -> str:
    """The picture."""
    parts, top = [], MARGIN + BAR
    for case, beside in by_case(results).items():
        parts.append(_text(0, top, f"{case}: requests a second", bold=True))
        parts.extend(_bars(beside, top + 8))
        top += 8 + BAR * len(beside) + 34
    for title, beside in sweeps(results).items():
        parts.append(_text(0, top, f"{title}: p99 in ms by requests started a second", bold=True))
        parts.extend(_lines(beside, top + 12))
        top += CHART + 60
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="{-MARGIN} 0 {WIDTH + MARGIN} {top}"'
        f' width="{WIDTH + MARGIN}" height="{top}" font-family="sans-serif" font-size="12">\n'
        f'<rect x="{-MARGIN}" width="{WIDTH + MARGIN}" height="{top}" fill="white"/>\n'
        + "\n".join(parts)
        + "\n</svg>\n"
    )


def _bars(beside: Sequence[Result], top: float) -> Iterable[str]:
    spreads = {each.server: Spread.of(values(each, "throughput")) for each in beside}
    scale = (WIDTH - LABELS - 200) / (max(each.high for each in spreads.values()) or 1.0)
    for index, (server, spread) in enumerate(spreads.items()):
        y = top + index * BAR
        middle = y + BAR / 2 - 1
        yield _text(0, y + 12, server)
        yield (
            f'<rect x="{LABELS}" y="{y}" width="{spread.median * scale:.1f}" height="{BAR - 4}"'
            f' fill="{COLOURS[server]}"/>'
        )
        yield _line(
            [(LABELS + spread.low * scale, middle), (LABELS + spread.high * scale, middle)], "black"
        )
        yield _text(LABELS + spread.high * scale + 6, y + 12, str(spread))


def _lines(beside: Sequence[Result], top: float) -> Iterable[str]:
    points = {
        server: [
            (each.rate, each.outcomes[0].p99)
            for each in beside
            if each.server == server and each.rate and each.outcomes[0].p99 > 0
        ]
        for server in dict.fromkeys(each.server for each in beside)
    }
    rates = [rate for line in points.values() for rate, _ in line]
    latencies = [latency for line in points.values() for _, latency in line]
    if not rates:
        return
    bottom, right = top + CHART, WIDTH - 140
    across, up = _Scale(rates, LABELS / 2, right), _Scale(latencies, bottom, top)
    yield _line([(LABELS / 2, top), (LABELS / 2, bottom), (right, bottom)], "#999999")
    for tick in across.ticks():
        yield _text(across(tick), bottom + 16, short(tick))
    for tick in up.ticks():
        yield _text(0, up(tick) + 4, short(tick))
    for index, (server, line) in enumerate(points.items()):
        yield _line([(across(rate), up(latency)) for rate, latency in line], COLOURS[server])
        yield _text(right + 20, top + 14 + index * 18, server, colour=COLOURS[server])


class _Scale:
    """A logarithmic axis: from the lowest value to the highest, from one place to another."""

    def __init__(self, values: Sequence[float], begin: float, end: float) -> None:
        self._low, self._high = math.log10(min(values)), math.log10(max(values))
        self._begin, self._end = begin, end

    def __call__(self, value: float) -> float:
        share = (math.log10(value) - self._low) / ((self._high - self._low) or 1)
        return self._begin + share * (self._end - self._begin)

    def ticks(self) -> list[float]:
        """The powers of ten on it, and its two ends."""
        powers = range(math.ceil(self._low), math.floor(self._high) + 1)
        return [10**self._low, *(10.0**power for power in powers), 10**self._high]


def _text(x: float, y: float, text: str, *, bold: bool = False, colour: str = "black") -> str:
    weight = ' font-weight="bold"' if bold else ""
    return f'<text x="{x:.1f}" y="{y:.1f}" fill="{colour}"{weight}>{escape(text)}</text>'


def _line(points: Iterable[tuple[float, float]], colour: str) -> str:
    path = " ".join(f"{x:.1f},{y:.1f}" for x, y in points)
    return f'<polyline points="{path}" fill="none" stroke="{colour}" stroke-width="1.5"/>'
