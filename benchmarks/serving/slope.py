"""Whether figures grow with time: the line through them, and how sure that is."""

import math
import statistics
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Self

LEAST = 3
SIGMAS = 2.0
"""How many standard errors a spread is: 19 times of 20 the truth is within it."""


@dataclass(frozen=True)
class Slope:
    """How much figures grow in a second: `steepness`, give or take `spread`."""

    steepness: float
    spread: float

    @classmethod
    def through(cls, points: Sequence[tuple[float, float]]) -> Self:
        """By least squares, of moments in seconds and figures. Not known of fewer than three."""
        if len(points) < LEAST:
            return cls(0.0, math.inf)
        moments, figures = zip(*points, strict=True)
        steepness, start = statistics.linear_regression(moments, figures)
        rest = sum((y - start - steepness * x) ** 2 for x, y in points)
        middle = statistics.fmean(moments)
        width = sum((x - middle) ** 2 for x in moments)
        error = math.sqrt(rest / (len(points) - 2) / width)
        return cls(steepness, SIGMAS * error)
