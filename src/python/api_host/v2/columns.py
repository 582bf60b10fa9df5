"""The tensors of v2 as what a model takes and gives: one tensor a column, or one for all."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from api_host.answers import TensorMetadata
from api_host.bounds import Bounds
from api_host.kinds import KINDS, Kind
from api_host.models.probabilities import PREDICT, PREDICT_PROBA
from api_host.outputs import Outputs
from api_host.problems import (
    INVALID_INPUT,
    PREDICTION_FAILED,
    Mistake,
    Problem,
    invalid_input,
    pointer,
)
from api_host.schema import Signature
from api_host.table import Table
from api_host.v2.tensors import Tensor, Wanted, datatype

INPUT = "input-0"
OUTPUT = "output-{}"
"""The names of tensors that the signature has no names for, as KServe has them."""


def to_table(tensors: Sequence[Tensor], signature: Signature | None, bounds: Bounds) -> Table:
    """What a model predicts from, checked. Raises `Problem`."""
    for tensor in tensors:
        bounds.check_columns(tensor.width)
        if tensor.array.dtype.hasobject:
            bounds.check_strings(tensor.array.tolist())
    if signature is None:
        return _unchecked(tensors)
    names = [str(column.name) for column in signature.columns]
    if len(tensors) == 1 and _holds_all(tensors[0], names):
        return _from_one(tensors[0], signature)
    named = {tensor.name: tensor for tensor in reversed(tensors)}
    return _from_many(named, tensors, signature)


def to_arrays(predictions: Any) -> dict[str, NDArray[Any]]:
    """The outputs by name; scikit-learn gives a list where it predicts several things."""
    if isinstance(predictions, Outputs):
        return {name: _values_of(name, array) for name, array in predictions.as_tensors().items()}
    several = isinstance(predictions, list) and all(
        isinstance(each, np.ndarray) for each in predictions
    )
    arrays = predictions if several else [predictions]
    return {OUTPUT.format(index): np.asarray(array) for index, array in enumerate(arrays)}


def _values_of(name: str, array: NDArray[Any]) -> NDArray[Any]:
    """An output's array, if v2 has a type for its values. Raises `Problem`."""
    if array.dtype.hasobject and not all(isinstance(each, str | bytes) for each in array.flat):
        raise Problem(PREDICTION_FAILED, f"{name} is neither numbers nor texts: ask /v1")
    return array


def functions_of(outputs: Sequence[Wanted]) -> tuple[str, ...]:
    """Which functions of a model give the outputs that are wanted: MLServer names them so."""
    names = {output.name for output in outputs}
    if PREDICT_PROBA not in names:
        return (PREDICT,)
    return (PREDICT_PROBA,) if len(names) == 1 else (PREDICT, PREDICT_PROBA)


def to_outputs(predictions: Mapping[str, Any], outputs: Sequence[Wanted]) -> dict[str, Any]:
    """The outputs by name, also those of MLServer's names if any are named. Raises `Problem`.

    `predictions`: of each function that was asked.
    """
    found: dict[str, NDArray[Any]] = {}
    if PREDICT in predictions:
        found = to_arrays(predictions[PREDICT])
        if outputs and len(found) == 1:
            found[PREDICT] = found[OUTPUT.format(0)]
    if PREDICT_PROBA in predictions:
        if isinstance(predictions[PREDICT_PROBA], list):
            detail = f"the model predicts several things: POST /v1/models/NAME/{PREDICT_PROBA}"
            raise Problem(PREDICTION_FAILED, detail)
        found[PREDICT_PROBA] = np.asarray(predictions[PREDICT_PROBA])
    return found


def describe_inputs(signature: Signature | None) -> list[TensorMetadata]:
    """The tensors that a model takes, as its metadata name them."""
    if signature is None:
        return []
    columns = signature.columns
    kinds = {column.kind.name: column.kind for column in columns}
    if not signature.named and len(kinds) == 1:
        return [_described(INPUT, columns[0].kind.dtype, [-1, len(columns)])]
    return [_described(str(column.name), column.kind.dtype, [-1]) for column in columns]


def describe_outputs(specs: Sequence[Mapping[str, Any]] | None) -> list[TensorMetadata]:
    """The tensors that a model gives, from the outputs of its signature."""
    return [
        _described(OUTPUT.format(index), *_output(spec)) for index, spec in enumerate(specs or ())
    ]


def _output(spec: Mapping[str, Any]) -> tuple[np.dtype[Any], list[int]]:
    if tensor := spec.get("tensor-spec"):
        return np.dtype(tensor["dtype"]), list(tensor["shape"])
    return KINDS[spec["type"]].dtype, [-1]


def _described(name: str, dtype: np.dtype[Any], shape: list[int]) -> TensorMetadata:
    return TensorMetadata(name, datatype(dtype), shape)


def _holds_all(tensor: Tensor, names: Sequence[str]) -> bool:
    return len(tensor.shape) > 1 and (tensor.width > 1 or tensor.name not in names)


def _from_one(tensor: Tensor, signature: Signature) -> Table:
    columns, width = signature.columns, tensor.width
    if width != len(columns):
        detail = f"must be [rows, {len(columns)}], as the model has {len(columns)} columns"
        raise invalid_input([Mistake(pointer("inputs", 0, "shape"), detail)])
    if signature.doubles and tensor.array.dtype == np.float64:
        # Binary data may begin anywhere in a body.
        return signature.of_numbers(
            np.require(tensor.array.reshape(-1, width), requirements=("C", "A"))
        )
    position = {column.name: index for index, column in enumerate(columns)}
    return signature.checked(
        {c.name: _values(tensor.array[position[c.name] :: width], c.kind) for c in columns},
        lambda name, row: tensor.place(row * width + position[name]),
    )


def _from_many(
    named: Mapping[str, Tensor], tensors: Sequence[Tensor], signature: Signature
) -> Table:
    columns = {str(column.name): column for column in signature.columns}
    rows = tensors[0].shape[0]
    mistakes = [
        Mistake("/inputs", f"must have a tensor {name}")
        for name, column in columns.items()
        if column.required and name not in named
    ]
    for tensor in tensors:
        name_place = pointer("inputs", tensor.index, "name")
        if tensor.name not in columns:
            mistakes.append(Mistake(name_place, "is not a column of this model"))
        elif named[tensor.name] is not tensor:
            mistakes.append(Mistake(name_place, "is the name of two tensors"))
        if tensor.shape not in ((rows,), (rows, 1)):
            detail = f"must be [{rows}] or [{rows}, 1]: one column, and as many rows as the first"
            mistakes.append(Mistake(pointer("inputs", tensor.index, "shape"), detail))
    if mistakes:
        raise invalid_input(mistakes)
    values = {
        column.name: _values(named[name].array, column.kind) if name in named else [None] * rows
        for name, column in columns.items()
    }

    def place(name: str | int, row: int) -> str:
        tensor = named.get(str(name))
        return tensor.place(row) if tensor else "/inputs"

    return signature.checked(values, place)


def _values(array: NDArray[Any], kind: Kind) -> Sequence[Any] | NDArray[Any]:
    """What a column of this kind is read from: numbers stay an array, bytes become text."""
    if not array.dtype.hasobject:
        return array
    values: list[Any] = array.tolist()
    return values if kind.name == "binary" else [_text(value) for value in values]


def _text(value: Any) -> Any:
    if not isinstance(value, bytes):
        return value
    try:
        return value.decode()
    except UnicodeDecodeError:
        return value  # The checker says that it is no string, and where.


def _unchecked(tensors: Sequence[Tensor]) -> Table:
    # A model that was logged without a signature: only the model itself knows what is right.
    first = tensors[0]
    if len(tensors) == 1 and len(first.shape) > 1:
        return Table(first.array.reshape(first.shape))
    columns = {tensor.name: _values(tensor.array, KINDS["string"]) for tensor in tensors}
    try:
        return Table(pd.DataFrame(columns))
    except ValueError as error:
        raise Problem(INVALID_INPUT, f"the inputs are not a table: {error}") from None
