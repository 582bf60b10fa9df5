"""A model's signature, compiled once: rows or columns in, a checked table out."""

import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from api_host.errors import ModelRefusedError
from api_host.kinds import KINDS, Column, Kind, described
from api_host.numbers.columns import LARGEST_WHOLE, all_doubles, all_numbers
from api_host.numbers.forms import NumericForms, forms_of
from api_host.numbers.rows import NumericRows, rows_of
from api_host.numbers.tensors import NumericTensors, tensors_of
from api_host.problems import Mistake, invalid_input, pointer
from api_host.table import Matrix, Natural, Table


@dataclass(frozen=True)
class Signature:
    """What a model takes.

    `columns`: its inputs, in order.
    `named`: whether they have names.
    `is_tensor`: whether the model takes an array rather than a data frame.
    """

    columns: tuple[Column, ...]
    named: bool
    is_tensor: bool

    @cached_property
    def numeric(self) -> bool:
        """Whether all columns are numbers."""
        return all_numbers(self.columns)

    @cached_property
    def reader(self) -> NumericRows | None:
        """What reads simple bodies; None where a column is no number."""
        return rows_of(self.columns, named=self.named)

    @cached_property
    def forms(self) -> NumericForms | None:
        """What reads simple bodies of MLflow's protocol; None where a column is no number."""
        return forms_of(self.columns, named=self.named, is_tensor=self.is_tensor)

    @cached_property
    def tensors(self) -> NumericTensors | None:
        """What reads simple bodies of v2; None where a column is not one of 64 bits."""
        return tensors_of(self.columns)

    def of_numbers(self, matrix: Matrix) -> Table:
        """Checked numbers, of which each is one that its column can hold."""
        return Table.of_numbers(matrix, self.form)

    def form(self, matrix: Matrix) -> Natural:
        """Numbers as the original model knows them."""
        if self.is_tensor:
            return matrix.astype(self.columns[0].kind.dtype, copy=False)
        if self.doubles:
            return pd.DataFrame(matrix, columns=self._names)
        return pd.DataFrame(
            {c.name: matrix[:, index].astype(c.kind.dtype) for index, c in enumerate(self.columns)}
        )

    @cached_property
    def doubles(self) -> bool:
        """Whether all columns are numbers of 64 bits."""
        return all_doubles(self.columns)

    @cached_property
    def _names(self) -> pd.Index:
        return pd.Index([column.name for column in self.columns])

    def _table(self, columns: Mapping[str | int, NDArray[Any]]) -> Table:
        """Checked columns in the form that the model predicts from."""
        arrays = list(columns.values())
        if self.numeric and all(_are_floats(array) for array in arrays):
            return self.of_numbers(np.column_stack(arrays).astype(np.float64, copy=False))
        if self.is_tensor:
            return Table(np.column_stack(arrays))
        frame = {
            # Pandas finds its own type for text, as it did when the model was trained.
            name: array.tolist() if array.dtype.hasobject else array
            for name, array in columns.items()
        }
        return Table(pd.DataFrame(frame))

    def from_rows(self, rows: Sequence[Any]) -> Table:
        """Checks rows: objects where the columns have names, else arrays."""
        mistakes = list(self._misshapen(rows))
        if mistakes:
            raise invalid_input(mistakes)
        # Optional means that values may be missing, not that the model does without the column.
        if self.named:
            lists = {c.name: [row.get(c.name) for row in rows] for c in self.columns}
        else:
            lists = {c.name: [row[index] for row in rows] for index, c in enumerate(self.columns)}
        return self.checked(lists, lambda name, row: pointer("rows", row, name))

    def from_columns(self, columns: Mapping[str, Any]) -> Table:
        """Checks columns: an object of arrays of the same length."""
        mistakes = list(self._wrong_names(columns, "columns"))
        mistakes += [
            Mistake(pointer("columns", name), f"must be an array, and is {described(values)}")
            for name, values in columns.items()
            if not isinstance(values, list)
        ]
        if not mistakes and len({len(values) for values in columns.values()}) > 1:
            lengths = ", ".join(f"{name} has {len(values)}" for name, values in columns.items())
            mistakes = [Mistake("/columns", f"must be of one length: {lengths}")]
        if mistakes:
            raise invalid_input(mistakes)
        nothing = [None] * len(next(iter(columns.values())))
        lists = {c.name: columns.get(str(c.name), nothing) for c in self.columns}
        return self.checked(lists, lambda name, row: pointer("columns", name, row))

    def _misshapen(self, rows: Sequence[Any]) -> Iterable[Mistake]:
        names = {column.name for column in self.columns}
        all_required = all(column.required for column in self.columns)
        for index, row in enumerate(rows):
            if self.named and isinstance(row, dict):
                if not (all_required and row.keys() == names):
                    yield from self._wrong_names(row, "rows", index)
            elif not self.named and isinstance(row, list):
                if len(row) != len(self.columns):
                    detail = f"must have {len(self.columns)} values, and has {len(row)}"
                    yield Mistake(pointer("rows", index), detail)
            else:
                form = "an object, column names to values" if self.named else "an array of values"
                yield Mistake(pointer("rows", index), f"must be {form}, and is {described(row)}")

    def _wrong_names(self, found: Mapping[str, Any], *steps: str | int) -> Iterable[Mistake]:
        if not self.named:
            detail = "the columns of this model have no names: send rows, each an array of values"
            yield Mistake(pointer(*steps), detail)
            return
        names = {column.name for column in self.columns}
        for column in self.columns:
            if column.required and column.name not in found:
                yield Mistake(pointer(*steps, column.name), "is missing")
        for name in found:
            if name not in names:
                yield Mistake(pointer(*steps, name), "is not a column of this model")

    def checked(
        self,
        columns: Mapping[str | int, Sequence[Any] | NDArray[Any]],
        place: Callable[[str | int, int], str],
    ) -> Table:
        """Checks the values of every column.

        `place`: the JSON Pointer to a value, by its column and row.
        """
        arrays = {}
        mistakes = []
        for column in self.columns:
            arrays[column.name], wrong = column.kind.read(columns[column.name])
            mistakes += [Mistake(place(column.name, row), detail) for row, detail in wrong]
        if mistakes:
            raise invalid_input(mistakes)
        return self._table(arrays)


def _are_floats(array: NDArray[Any]) -> bool:
    """Whether float64 can hold each of these numbers."""
    if array.dtype != np.int64:
        return True
    return bool(((array >= -LARGEST_WHOLE) & (array <= LARGEST_WHOLE)).all())


def compile_signature(inputs: str | None) -> Signature | None:
    """The checker for a signature's inputs, which MLflow keeps as JSON in the MLmodel file."""
    if inputs is None:
        return None
    specs = json.loads(inputs)
    if specs[0]["type"] == "tensor":
        return _compile_tensor(specs)
    named = specs[0].get("name") is not None
    columns = tuple(
        Column(spec["name"] if named else index, _kind(spec), spec.get("required", True))
        for index, spec in enumerate(specs)
    )
    return Signature(columns, named, is_tensor=False)


def _kind(spec: Mapping[str, Any]) -> Kind:
    kind = KINDS.get(spec["type"])
    if kind is None:
        raise ModelRefusedError(
            f"its signature has a column of type {spec['type']}, and only"
            f" {', '.join(KINDS)} are served"
        )
    return kind


def _compile_tensor(specs: Sequence[Mapping[str, Any]]) -> Signature:
    shape = specs[0]["tensor-spec"]["shape"]
    if (
        len(specs) > 1
        or specs[0].get("name") is not None
        or len(shape) != len(("rows", "columns"))
        or shape[1] < 1
    ):
        raise ModelRefusedError(
            "its signature is not one array of rows and columns; log it with"
            " infer_signature() of a data frame"
        )
    dtype = np.dtype(specs[0]["tensor-spec"]["dtype"])
    kind = next((kind for kind in KINDS.values() if kind.dtype == dtype), None)
    if kind is None or dtype.hasobject:
        raise ModelRefusedError(f"its signature has an array of {dtype}, which is not served")
    return Signature(
        tuple(Column(index, kind) for index in range(shape[1])), named=False, is_tensor=True
    )
