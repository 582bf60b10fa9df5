"""What answers for a model: the model itself, or a faster equivalent that was proven equal."""

from bisect import bisect_left
from collections.abc import Callable
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Any, Protocol, TypeAlias

import structlog
from numpy.typing import NDArray

from api_host.answers import EngineMeasurement, EngineRange, ModelEngine
from api_host.table import Matrix, Natural, Table

Answers: TypeAlias = NDArray[Any]
"""Labels or numbers, of the type that the original gives."""

ORIGINAL = "original"
"""The name of what serves where no engine does."""


class NoEngineError(Exception):
    """A model has no faster equivalent that can be trusted. The message says why."""


class NumbersOnly(Protocol):
    """What predicts from numbers for a model."""

    @property
    def name(self) -> str:
        """What it is, in a word."""

    def predict(self, matrix: Matrix) -> Any:
        """What the original would say; None where only the original can answer, or refuse."""


class Engine(NumbersOnly, Protocol):
    """A faster equivalent of a model."""

    def predict(self, matrix: Matrix) -> Answers | None:
        """What the original would say; None where only the original can answer, or refuse."""


@dataclass(frozen=True)
class Measurement:
    """What one call with this many rows took, in seconds of one core."""

    rows: int
    original: float
    engine: float

    @property
    def best(self) -> float:
        """What the faster of the two took."""
        return min(self.original, self.engine)

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
    `itself`: what the original is called.
    """

    original: Callable[[Natural], Any]
    why: str
    engine: NumbersOnly | None = None
    measured: tuple[Measurement, ...] = ()
    itself: str = ORIGINAL
    _upto: list[float] = field(init=False, repr=False)
    _served: list[bool] = field(init=False, repr=False)

    def __post_init__(self) -> None:
        sizes = [one.rows for one in self.measured]
        self._upto = [(low * high) ** 0.5 for low, high in pairwise(sizes)]
        self._served = [one.factor > 1 for one in self.measured] or [self.engine is not None]

    def predict(self, table: Table) -> Any:
        """The predictions, one a row."""
        answers = self.ask_engine(table)
        return self.original(table.natural()) if answers is None else answers

    def ask_engine(self, table: Table) -> Any:
        """The predictions of the engine; None where the original is to be asked."""
        matrix, engine = table.matrix, self.engine
        if matrix is None or engine is None or not self.serves(len(matrix)):
            return None
        try:
            return engine.predict(matrix)
        except Exception:  # noqa: BLE001 - whatever it is, the original can still answer
            structlog.get_logger().exception("engine_failed", engine=engine.name)
            return None

    def serves(self, rows: int) -> bool:
        """Whether the engine is the one to ask for this many rows."""
        return self._served[bisect_left(self._upto, rows)]

    def seconds(self, rows: int) -> float | None:
        """How long this many rows take, by what was measured; None if nothing was."""
        below = None
        for above in self.measured:
            if rows <= above.rows:
                if below is None:
                    return above.best
                share = (rows - below.rows) / (above.rows - below.rows)
                return below.best + share * (above.best - below.best)
            below = above
        return None if below is None else below.best * rows / below.rows

    def document(self) -> ModelEngine:
        """What is said of them in `GET /v1/models/{name}`."""
        ends = [*(int(end) for end in self._upto), None]
        ranges: list[EngineRange] = []
        start = 1
        for end, served in zip(ends, self._served, strict=True):
            name = self.engine.name if self.engine and served else self.itself
            if ranges and ranges[-1].engine == name:
                start = ranges.pop().first
            ranges.append(EngineRange(start, end, name))
            start = (end or 0) + 1
        return ModelEngine(self.why, ranges, [*map(_document, self.measured)])


def _document(measurement: Measurement) -> EngineMeasurement:
    return EngineMeasurement(
        rows=measurement.rows,
        original_microseconds=round(measurement.original * 1e6, 1),
        engine_microseconds=round(measurement.engine * 1e6, 1),
        factor=round(measurement.factor, 2),
    )
