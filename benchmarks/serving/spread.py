"""Figures that were measured several times: the middle and the extremes, and their ratios."""

import math
import statistics
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Self

DIGITS = 3
"""How many digits of a number count."""


@dataclass(frozen=True)
class Spread:
    """Several values of one figure: `median`, from `low` to `high`."""

    median: float
    low: float
    high: float

    @classmethod
    def of(cls, values: Sequence[float]) -> Self:
        """The spread of at least one value."""
        return cls(statistics.median(values), min(values), max(values))

    def __str__(self) -> str:
        low, middle, high = short(self.low), short(self.median), short(self.high)
        return middle if low == high else f"{middle} ({low} to {high})"


def ratios(ours: Sequence[float], theirs: Sequence[float]) -> Spread:
    """How many times `theirs` `ours` is: round by round, so that a slow moment slows both."""
    return Spread.of(
        [one / other if other else math.inf for one, other in zip(ours, theirs, strict=True)]
    )


def percentile(values: Sequence[float], share: float) -> float:
    """The smallest of `values` that `share` of them do not exceed; NaN where there is none."""
    if not values:
        return math.nan
    return sorted(values)[max(math.ceil(share * len(values)), 1) - 1]


def short(value: float) -> str:
    """A number as a person reads it: without digits that say nothing."""
    if not math.isfinite(value):
        return "none" if math.isnan(value) else "∞"
    whole = len(f"{abs(value):.0f}")
    return f"{value:,.{max(DIGITS - whole, 0)}f}"
