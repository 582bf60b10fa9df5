"""What answers for a model: the model itself, or a faster equivalent that was proven equal."""

from bisect import bisect_left
from collections.abc import Callable
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Any, Protocol, TypeAlias

import numpy as np
import structlog
from numpy.typing import NDArray

Matrix: TypeAlias = NDArray[np.float64]
"""Rows of numbers, in the order of the signature's columns."""

Answers: TypeAlias = NDArray[Any]
"""Labels or numbers, of the type that the original gives."""

ORIGINAL = "original"
"""The name of what serves where no engine does."""


class NoEngineError(Exception):
    """A model has no faster equivalent that can be trusted. The message says why."""


class Engine(Protocol):
    """A faster equivalent of a model."""

    @property
    def name(self) -> str:
        """What it is, in a word."""

    def predict(self, matrix: Matrix) -> Answers | None:
        """What the original would say; None where only the original can answer, or refuse."""


class Rows(Protocol):
    """Rows in both forms: `matrix` is None where a column is not a number."""

    @property
    def matrix(self) -> Matrix | None:
        """The rows as an engine takes them."""

    def natural(self) -> Any:
        """The rows as the original takes them."""


@dataclass(frozen=True)
class Measurement:
    """What one call took, in seconds, with this many rows."""

    rows: int
    original: float
    engine: float

    @property
    def factor(self) -> float:
        """How many times faster the engine is."""
        return self.original / self.engine


@dataclass
class Engines:
    """The original of a model, and an engine for the numbers of rows at which that is faster.

    `original`: predicts from rows in their natural form.
    `why`: a sentence: why the engine is trusted, or why there is none.
    `engine`: None where the original serves always.
    `measured`: by increasing number of rows; nothing where there is no engine.
    """

    original: Callable[[Any], Answers]
    why: str
    engine: Engine | None = None
    measured: tuple[Measurement, ...] = ()
    _upto: list[float] = field(init=False, repr=False)
    _served: list[bool] = field(init=False, repr=False)

    def __post_init__(self) -> None:
        sizes = [one.rows for one in self.measured]
        self._upto = [(low * high) ** 0.5 for low, high in pairwise(sizes)]
        self._served = [one.factor > 1 for one in self.measured] or [self.engine is not None]

    def predict(self, rows: Rows) -> Answers:
        """The predictions, one a row."""
        matrix = rows.matrix
        if matrix is not None and self.engine is not None and self.serves(len(matrix)):
            answers = self._ask(self.engine, matrix)
            if answers is not None:
                return answers
        return self.original(rows.natural())

    def serves(self, rows: int) -> bool:
        """Whether the engine is the one to ask for this many rows."""
        return self._served[bisect_left(self._upto, rows)]

    def document(self) -> dict[str, Any]:
        """What is said of them in `GET /v1/models/{name}`."""
        ends = [*(int(end) for end in self._upto), None]
        ranges: list[dict[str, Any]] = []
        for end, served in zip(ends, self._served, strict=True):
            name = self.engine.name if self.engine and served else ORIGINAL
            if ranges and ranges[-1]["engine"] == name:
                ranges[-1]["to"] = end
            else:
                start = ranges[-1]["to"] + 1 if ranges else 1
                ranges.append({"from": start, "to": end, "engine": name})
        return {"why": self.why, "rows": ranges, "measured": [*map(_document, self.measured)]}

    def _ask(self, engine: Engine, matrix: Matrix) -> Answers | None:
        try:
            return engine.predict(matrix)
        except Exception:  # noqa: BLE001 - whatever it is, the original can still answer
            structlog.get_logger().exception("engine_failed", engine=engine.name)
            return None


def _document(measurement: Measurement) -> dict[str, Any]:
    return {
        "rows": measurement.rows,
        "original_microseconds": round(measurement.original * 1e6, 1),
        "engine_microseconds": round(measurement.engine * 1e6, 1),
        "factor": round(measurement.factor, 2),
    }
