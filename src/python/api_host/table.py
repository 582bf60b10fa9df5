"""The rows of a request, checked: as numbers, or as what the original model takes."""

from collections.abc import Callable, Sequence
from typing import Any, Self, TypeAlias

import numpy as np
import pandas as pd
from numpy.typing import NDArray

Natural: TypeAlias = pd.DataFrame | NDArray[Any]
"""What a model was fitted on and predicts from."""

Matrix: TypeAlias = NDArray[np.float64]
"""Numbers, `[rows, columns]`, in the order of the signature."""

Form: TypeAlias = Callable[[Matrix], Natural]
"""Gives numbers the names and types that the original knows."""


class Table:
    """Rows to predict from.

    `matrix`: their values; None where a column is no number, or nothing is known of it.
    """

    def __init__(self, natural: Natural) -> None:
        self.matrix: Matrix | None = None
        self._form: Form | None = None
        self._natural: Natural | None = natural

    @classmethod
    def of_numbers(cls, matrix: Matrix, form: Form) -> Self:
        """A table of numbers, which have their form only when they are asked for it."""
        table = cls.__new__(cls)
        table.matrix = matrix
        table._form = form  # noqa: SLF001 - it is of this class
        table._natural = None  # noqa: SLF001
        return table

    def __len__(self) -> int:
        return len(self.natural() if self.matrix is None else self.matrix)

    def natural(self) -> Natural:
        """What the original takes."""
        if self._natural is None:
            assert self.matrix is not None and self._form is not None  # noqa: S101, PT018
            self._natural = self._form(self.matrix)
        return self._natural


def join(tables: Sequence[Table]) -> Table | None:
    """The rows of all in one table; None if they are not of one form."""
    matrices = [table.matrix for table in tables if table.matrix is not None]
    form = tables[0]._form  # noqa: SLF001
    if len(matrices) == len(tables) and form is not None:
        return Table.of_numbers(np.concatenate(matrices), form)
    naturals = [table.natural() for table in tables]
    first = naturals[0]
    if isinstance(first, pd.DataFrame):
        frames = [natural for natural in naturals if isinstance(natural, pd.DataFrame)]
        alike = len(frames) == len(naturals) and all(
            frame.dtypes.equals(first.dtypes) for frame in frames
        )
        return Table(pd.concat(frames, ignore_index=True)) if alike else None
    arrays = [natural for natural in naturals if isinstance(natural, np.ndarray)]
    alike = len(arrays) == len(naturals) and all(
        (array.dtype, array.shape[1:]) == (first.dtype, first.shape[1:]) for array in arrays
    )
    return Table(np.concatenate(arrays)) if alike else None
