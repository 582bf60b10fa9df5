"""Rows on which a model and its faster equivalent are compared: the same ones at every load."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from api_host.table import Matrix

SEED = 0

WIDE = (0.0, -0.0, 1.0, -1.0, 1e-300, 1e6, -1e6, 2.0**24 + 1, 1e12, 2.0**53)
"""Numbers that seldom occur and are easily got wrong."""

_SHARE_OF_GAPS = 0.2


@dataclass(frozen=True)
class Samples:
    """Rows in three groups, since a model may refuse one as a whole.

    `usual`: around the example and the thresholds of the model.
    `wide`: with numbers of `WIDE` in some columns.
    `gaps`: with NaN in some columns.
    """

    usual: Matrix
    wide: Matrix
    gaps: Matrix


def make_samples(
    example: Matrix,
    dtypes: Sequence[np.dtype[Any]],
    thresholds: Callable[[int], Matrix],
    rows: int,
) -> Samples:
    """Rows like those of `example`, of columns that have these types in the signature.

    `thresholds`: the numbers at which the model changes its mind about a column.
    `rows`: how many are usual; of the other groups there are a quarter as many each.
    """
    random = np.random.default_rng(SEED)
    columns = [
        _column(example[:, index], thresholds(index), rows, random)
        for index in range(example.shape[1])
    ]
    usual = np.vstack([example, _as_signed(np.column_stack(columns), dtypes)])
    some = usual[: max(1, rows // 4)]
    wide = np.where(_share(some, random), random.choice(WIDE, some.shape), some)
    holes = _share(some, random) & [dtype.kind == "f" for dtype in dtypes]
    return Samples(usual, _as_signed(wide, dtypes), np.where(holes, np.nan, some))


def _column(
    example: Matrix, thresholds: Matrix, rows: int, random: np.random.Generator
) -> NDArray[np.float64]:
    known = example[np.isfinite(example)]
    around = np.concatenate([known, thresholds]) if len(known) else thresholds
    around = around if len(around) else np.zeros(1)
    spread = max(float(np.std(around)), 0.1 * float(np.abs(around).max()), 1e-3)
    near = random.choice(around, rows) + random.normal(0, spread, rows)
    if not len(thresholds):
        return near
    exact = random.choice(thresholds, rows)
    beside = np.nextafter(exact, random.choice([-np.inf, np.inf], rows))
    side = random.choice([-np.inf, np.inf], rows).astype(np.float32)
    single = np.nextafter(exact.astype(np.float32), side)
    kinds = [near, near, near, exact, beside, single]
    return np.choose(random.integers(0, len(kinds), rows), kinds)


def _share(rows: Matrix, random: np.random.Generator) -> NDArray[np.bool_]:
    chosen = random.random(rows.shape) < _SHARE_OF_GAPS
    chosen[np.arange(len(rows)), random.integers(0, rows.shape[1], len(rows))] = True
    return chosen


def _as_signed(matrix: Matrix, dtypes: Sequence[np.dtype[Any]]) -> Matrix:
    """The same rows, as far as columns of these types can hold them."""
    columns = [_as_type(matrix[:, index], dtype) for index, dtype in enumerate(dtypes)]
    return np.ascontiguousarray(np.column_stack(columns), np.float64)


def _as_type(values: Matrix, dtype: np.dtype[Any]) -> NDArray[Any]:
    if dtype.kind == "b":
        return values > np.median(values)
    if dtype.kind in "iu":
        limits = np.iinfo(dtype)
        return np.clip(np.rint(values), max(limits.min, -(2**53)), min(limits.max, 2**53))
    return values.astype(dtype)
