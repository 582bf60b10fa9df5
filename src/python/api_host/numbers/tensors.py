"""Requests of v2 in JSON whose tensors are numbers alone."""

from collections.abc import Sequence
from typing import Literal, TypeAlias

import msgspec

from api_host.flat import Scalar, Text
from api_host.kinds import Column
from api_host.numbers.columns import all_doubles
from api_host.numbers.matrices import from_columns
from api_host.table import Matrix

_Parameters: TypeAlias = dict[Text, Scalar] | None


class _Tensor(msgspec.Struct, forbid_unknown_fields=True):
    name: Text
    shape: list[int]
    datatype: Literal["FP64"]
    data: list[float | None]
    parameters: _Parameters = None


class _Request(msgspec.Struct, forbid_unknown_fields=True):
    inputs: list[_Tensor]
    id: Text | None = None
    parameters: _Parameters = None


_TELLING = frozenset(
    {"binary_data_output", "binary_data_size", "classification", "shared_memory_region"}
)
"""Parameters that change what is meant; no others do."""


_DECODER = msgspec.json.Decoder(_Request)


def tensors_of(columns: Sequence[Column]) -> "NumericTensors | None":
    """The reader for these columns; None if there is none."""
    return NumericTensors(columns) if all_doubles(columns) else None


class NumericTensors:
    """Reads tensors for columns of 64 bits: one a column, or one with all of them.

    What it does not take may be right all the same: it is for the reader that also says what is
    wrong, and where.
    """

    def __init__(self, columns: Sequence[Column]) -> None:
        self._names = [str(column.name) for column in columns]
        self._places = {name: index for index, name in enumerate(self._names)}

    def read(self, body: bytes) -> tuple[Matrix, str | None] | None:
        """The numbers of a body and its id; None if it is not of the simple form, or not right."""
        try:
            request = _DECODER.decode(body)
        except (msgspec.MsgspecError, ValueError):
            return None
        inputs = request.inputs
        given = [request.parameters, *(each.parameters for each in inputs)]
        if any(parameters and not _TELLING.isdisjoint(parameters) for parameters in given):
            return None
        matrix = self._from_one(inputs[0]) if len(inputs) == 1 else self._from_many(inputs)
        return None if matrix is None else (matrix, request.id)

    def _from_one(self, tensor: _Tensor) -> Matrix | None:
        width = len(self._names)
        fits = len(tensor.shape) == len(("rows", "columns")) and tensor.shape[1] == width
        if not fits or not tensor.data or len(tensor.data) != tensor.shape[0] * width:
            return None
        values = from_columns([tensor.data])
        return None if values is None else values.reshape(-1, width)

    def _from_many(self, tensors: Sequence[_Tensor]) -> Matrix | None:
        if len(tensors) != len(self._names):
            return None
        rows = len(tensors[0].data)
        lists: list[list[float | None]] = [[]] * len(tensors)
        for tensor in tensors:
            place = self._places.get(tensor.name)
            if place is None or lists[place] or len(tensor.data) != rows:
                return None
            if tensor.shape not in ([rows], [rows, 1]):
                return None
            lists[place] = tensor.data
        return from_columns(lists)
