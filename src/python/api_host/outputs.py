"""What a model predicts that names its outputs."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray


class Outputs:
    """The outputs of one call.

    `arrays`: by name, in the order of the model; of a map for each row, an array of maps.
    `framed`: whether the rows came as a data frame: MLflow then answers with one.
    """

    def __init__(self, arrays: Mapping[str, NDArray[Any]], *, framed: bool) -> None:
        self.arrays = arrays
        self.framed = framed

    def as_mlflow(self) -> pd.DataFrame | dict[str, NDArray[Any]]:
        """As MLflow gives them. Raises `ValueError` where MLflow cannot."""
        if not self.framed:
            return dict(self.arrays)
        flat = {name: array.reshape(-1) for name, array in self.arrays.items()}
        if len({len(array) for array in flat.values()}) > 1:
            shapes = ", ".join(f"{name} {list(a.shape)}" for name, a in self.arrays.items())
            raise ValueError(
                f"MLflow makes one column of each output, and they are not of one length: {shapes};"
                " ask /v1 or /v2"
            )
        return pd.DataFrame(flat)

    def by_row(self) -> NDArray[Any]:
        """A prediction a row: a value or a list; of several outputs, an object with their names.

        Raises `ValueError` where the outputs are not of one length.
        """
        arrays = {name: _narrow(array) for name, array in self.arrays.items()}
        if len(arrays) == 1:
            return next(iter(arrays.values()))
        lists = (array.tolist() if array.ndim else [array.item()] for array in arrays.values())
        rows = [dict(zip(arrays, values, strict=True)) for values in zip(*lists, strict=True)]
        found = np.empty(len(rows), dtype=object)
        found[:] = rows
        return found

    def as_tensors(self) -> dict[str, NDArray[Any]]:
        """As arrays of values: maps become columns, in the order of the keys of the first."""
        return {name: _unmapped(array) for name, array in self.arrays.items()}

    def split(self, lengths: Sequence[int]) -> "list[Outputs] | None":
        """Those of the rows that were joined; None if one of them is not an element a row."""
        if any(array.shape[:1] != (sum(lengths),) for array in self.arrays.values()):
            return None
        return [
            Outputs(
                {name: array[end - length : end] for name, array in self.arrays.items()},
                framed=self.framed,
            )
            for length, end in zip(lengths, np.cumsum(lengths), strict=True)
        ]


def _narrow(array: NDArray[Any]) -> NDArray[Any]:
    """A column of one value as the values."""
    return array.reshape(-1) if array.ndim == len("nk") and array.shape[1] == 1 else array


def _unmapped(array: NDArray[Any]) -> NDArray[Any]:
    if array.ndim != 1 or not array.dtype.hasobject or not len(array):
        return array
    first = array[0]
    if not isinstance(first, dict) or any(row.keys() != first.keys() for row in array):
        return array
    values = np.array([[row[key] for key in first] for row in array])
    # The runtime has no maps of other numbers, and gives Python's.
    return values.astype(np.float32) if values.dtype.kind == "f" else values
