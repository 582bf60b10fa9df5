"""What a pipeline does to numbers before its model sees them, as a few operations of numpy.

Each operation is the one that scikit-learn does, in the same order and precision, so that what
comes out is the same to the bit.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from enum import IntEnum
from typing import Any, Self

import numpy as np
from numpy.typing import DTypeLike, NDArray
from sklearn.compose import ColumnTransformer
from sklearn.impute import SimpleImputer
from sklearn.pipeline import Pipeline
from sklearn.preprocessing import (
    FunctionTransformer,
    MaxAbsScaler,
    MinMaxScaler,
    RobustScaler,
    StandardScaler,
)

from api_host.compiled.engines import NoEngineError
from api_host.table import Matrix

MOST = 2.0**53
"""The largest number that an engine takes: from here float64 no longer counts by ones."""

FARTHEST = 1e30
"""The largest number that may come out: what float32 holds as well."""


class Kind(IntEnum):
    """What is done with a column and a number of its own, in the order of most pipelines."""

    FILL = 0
    SUBTRACT = 1
    DIVIDE = 2
    MULTIPLY = 3
    ADD = 4
    RAISE = 5
    LOWER = 6


_UFUNCS: dict[Kind, np.ufunc] = {
    Kind.SUBTRACT: np.subtract,
    Kind.DIVIDE: np.divide,
    Kind.MULTIPLY: np.multiply,
    Kind.ADD: np.add,
    Kind.RAISE: np.maximum,
    Kind.LOWER: np.minimum,
}

_NOTHING = {
    Kind.FILL: math.nan,
    Kind.SUBTRACT: 0.0,
    Kind.DIVIDE: 1.0,
    Kind.MULTIPLY: 1.0,
    Kind.ADD: 0.0,
    Kind.RAISE: -math.inf,
    Kind.LOWER: math.inf,
}
"""The number by which each leaves a column as it is."""


@dataclass(frozen=True)
class Step:
    """One operation on all columns; `values`: a number for each."""

    kind: Kind
    values: NDArray[Any]

    def take(self, columns: NDArray[np.intp]) -> "Step":
        """The same for some of the columns."""
        return Step(self.kind, self.values[columns])


@dataclass(frozen=True)
class Preparation:
    """What is done to a matrix, from the first step of a pipeline to its model.

    `width`: how many columns go in.
    `columns`: which of them come out, in order.
    `steps`: what is done to those.
    `dtype`: the precision in which scikit-learn does it.
    """

    width: int
    columns: NDArray[np.intp]
    steps: tuple[Step, ...]
    dtype: np.dtype[Any]

    @classmethod
    def nothing(cls, width: int, dtype: DTypeLike = np.float64) -> Self:
        """All columns as they are."""
        return cls(width, np.arange(width), (), np.dtype(dtype))

    def then(self, transformer: Any) -> "Preparation":
        """The same, followed by a fitted transformer. Raises `NoEngineError`."""
        if transformer is None or transformer == "passthrough":
            return self
        if transformer == "drop":
            return self.take(np.empty(0, np.intp))
        follow = _FOLLOW.get(type(transformer))
        if follow is None:
            name = type(transformer).__name__
            raise NoEngineError(f"what a {name} does has no faster equivalent")
        return follow(self, transformer)

    def take(self, columns: NDArray[np.intp]) -> "Preparation":
        """Only some of what comes out."""
        steps = tuple(step.take(columns) for step in self.steps)
        return replace(self, columns=self.columns[columns], steps=steps)

    def compile(self, *, takes_gaps: bool) -> Callable[[Matrix], NDArray[Any] | None]:
        """Makes it a function; that gives None for what the original must look at itself.

        `takes_gaps`: whether the model takes NaN.
        """
        if not self._reach() <= FARTHEST:
            raise NoEngineError("its pipeline scales columns to numbers beyond 1e30")
        columns = None if np.array_equal(self.columns, np.arange(self.width)) else self.columns
        gaps = np.ones(self.width, np.bool_)
        gaps[self.columns] = takes_gaps | ~np.isnan(self._fills())
        return _Compiled(columns, gaps if gaps.any() else None, self.steps, self.dtype)

    def restore(self, column: int, values: Matrix) -> Matrix:
        """What went in where `values` came out of a column, as nearly as can be said."""
        for step in reversed(self.steps):
            number = step.values[column]
            if step.kind is Kind.SUBTRACT:
                values = values + number
            elif step.kind is Kind.DIVIDE:
                values = values * number
            elif step.kind is Kind.MULTIPLY:
                values = values / number
            elif step.kind is Kind.ADD:
                values = values - number
        return values

    def _fills(self) -> Matrix:
        fills = np.full(len(self.columns), np.nan)
        for step in self.steps:
            if step.kind is Kind.FILL:
                fills = np.where(np.isnan(fills), step.values, fills)
        return fills

    def _reach(self) -> float:
        """The largest number that can come out."""
        reach = np.full(len(self.columns), MOST)
        with np.errstate(all="ignore"):
            for step in self.steps:
                sizes = np.abs(step.values.astype(np.float64))
                if step.kind in {Kind.SUBTRACT, Kind.ADD}:
                    reach = reach + sizes
                elif step.kind is Kind.DIVIDE:
                    reach = reach / sizes
                elif step.kind is Kind.MULTIPLY:
                    reach = reach * sizes
                elif step.kind is Kind.FILL:
                    reach = np.fmax(reach, sizes)
        return float(reach.max(initial=0.0))


class _Compiled:
    """The function of a `Preparation`."""

    def __init__(
        self,
        columns: NDArray[np.intp] | None,
        gaps: NDArray[np.bool_] | None,
        steps: Sequence[Step],
        dtype: np.dtype[Any],
    ) -> None:
        self._columns = columns
        self._gaps = gaps
        self._steps = [(_UFUNCS.get(step.kind), step.values) for step in steps]
        self._dtype = None if dtype == np.float64 else dtype

    def __call__(self, matrix: Matrix) -> NDArray[Any] | None:
        largest = np.maximum.reduce(np.abs(matrix), axis=None, initial=0.0)
        complete = bool(largest <= MOST)  # False for NaN, too.
        if not complete and not self._takes(matrix):
            return None
        return self._apply(matrix, complete=complete)

    def _takes(self, matrix: Matrix) -> bool:
        if self._gaps is None:
            return False
        return bool(((np.abs(matrix) <= MOST) | (np.isnan(matrix) & self._gaps)).all())

    def _apply(self, matrix: NDArray[Any], *, complete: bool) -> NDArray[Any]:
        ours = False  # What came in belongs to the caller: the first step writes elsewhere.
        if self._columns is not None:
            matrix, ours = matrix.take(self._columns, axis=1), True
        if self._dtype is not None:
            matrix, ours = matrix.astype(self._dtype), True
        for ufunc, values in self._steps:
            if ufunc is not None:
                matrix, ours = ufunc(matrix, values, out=matrix if ours else None), True
            elif not complete:
                filled = np.where(np.isnan(matrix), values, matrix)
                matrix, ours = filled.astype(matrix.dtype, copy=False), True
        return matrix


def _add(before: Preparation, *steps: tuple[Kind, Any]) -> Preparation:
    width = len(before.columns)
    made = (Step(kind, np.broadcast_to(np.asarray(values), width)) for kind, values in steps)
    return replace(before, steps=(*before.steps, *made))


def _pipeline(before: Preparation, pipeline: Pipeline) -> Preparation:
    for _, transformer in pipeline.steps:
        before = before.then(transformer)
    return before


def _standard(before: Preparation, scaler: StandardScaler) -> Preparation:
    if scaler.with_mean:
        before = _add(before, (Kind.SUBTRACT, scaler.mean_.astype(before.dtype)))
    if scaler.with_std:
        before = _add(before, (Kind.DIVIDE, scaler.scale_.astype(before.dtype)))
    return before


def _min_max(before: Preparation, scaler: MinMaxScaler) -> Preparation:
    before = _add(before, (Kind.MULTIPLY, scaler.scale_), (Kind.ADD, scaler.min_))
    return _clip(before, *scaler.feature_range) if scaler.clip else before


def _max_abs(before: Preparation, scaler: MaxAbsScaler) -> Preparation:
    before = _add(before, (Kind.DIVIDE, scaler.scale_))
    return _clip(before, -1.0, 1.0) if getattr(scaler, "clip", False) else before


def _robust(before: Preparation, scaler: RobustScaler) -> Preparation:
    if scaler.with_centering:
        before = _add(before, (Kind.SUBTRACT, scaler.center_))
    if scaler.with_scaling:
        before = _add(before, (Kind.DIVIDE, scaler.scale_))
    return before


def _clip(before: Preparation, lowest: float, highest: float) -> Preparation:
    return _add(before, (Kind.RAISE, lowest), (Kind.LOWER, highest))


def _imputer(before: Preparation, imputer: SimpleImputer) -> Preparation:
    missing = imputer.missing_values
    if not (isinstance(missing, float) and math.isnan(missing)):
        raise NoEngineError(f"its SimpleImputer takes {missing!r} for a missing value, and not NaN")
    if imputer.add_indicator:
        raise NoEngineError("its SimpleImputer adds columns that say what was missing")
    values = np.asarray(imputer.statistics_, np.float64)
    if np.isnan(values).any():
        raise NoEngineError("its SimpleImputer drops columns that were always empty")
    return _add(before, (Kind.FILL, values))


def _function(before: Preparation, transformer: FunctionTransformer) -> Preparation:
    if transformer.func is not None:
        raise NoEngineError("what a function of its own does has no faster equivalent")
    return before


def _columns(before: Preparation, transformer: ColumnTransformer) -> Preparation:
    indices = transformer._transformer_to_input_indices  # noqa: SLF001 - names, masks, slices
    parts = [
        before.take(np.asarray(indices[name], np.intp)).then(fitted)
        for name, fitted, _ in transformer.transformers_
        if len(indices[name])
    ]
    if not any(len(part.columns) for part in parts):
        raise NoEngineError("its pipeline drops all columns")
    return _beside([part for part in parts if len(part.columns)])


def _beside(parts: Sequence[Preparation]) -> Preparation:
    """Parts that each do something else, as one that does it to all columns at once."""
    orders = [[step.kind for step in part.steps] for part in parts]
    order = orders[0]
    if any(other != order for other in orders):
        if any(kinds != sorted(set(kinds)) for kinds in orders):
            raise NoEngineError("its pipeline prepares its columns in different orders")
        order = sorted(set().union(*orders))
        parts = [_padded(part, order) for part in parts]
    steps = tuple(
        Step(kind, np.concatenate([part.steps[index].values for part in parts]))
        for index, kind in enumerate(order)
    )
    columns = np.concatenate([part.columns for part in parts])
    return replace(parts[0], columns=columns, steps=steps)


def _padded(part: Preparation, order: Sequence[Kind]) -> Preparation:
    done = {step.kind: step for step in part.steps}
    nothing = {kind: Step(kind, np.full(len(part.columns), _NOTHING[kind])) for kind in order}
    return replace(part, steps=tuple((nothing | done)[kind] for kind in order))


_FOLLOW: dict[type, Callable[[Preparation, Any], Preparation]] = {
    Pipeline: _pipeline,
    StandardScaler: _standard,
    MinMaxScaler: _min_max,
    MaxAbsScaler: _max_abs,
    RobustScaler: _robust,
    FunctionTransformer: _function,
    SimpleImputer: _imputer,
    ColumnTransformer: _columns,
}
