"""Predicts with an ONNX model, of the rows and with the answers that MLflow's own way has."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from onnxruntime import InferenceSession

from api_host.answers import TensorMetadata
from api_host.compiled.onnx_session import open_file
from api_host.errors import ModelRefusedError
from api_host.outputs import Outputs
from api_host.schema import Signature
from api_host.table import Matrix, Natural
from api_host.v2.tensors import datatype

TYPES: Mapping[str, np.dtype[Any]] = {
    "tensor(bool)": np.dtype(np.bool_),
    "tensor(double)": np.dtype(np.float64),
    "tensor(float)": np.dtype(np.float32),
    "tensor(float16)": np.dtype(np.float16),
    "tensor(int8)": np.dtype(np.int8),
    "tensor(int16)": np.dtype(np.int16),
    "tensor(int32)": np.dtype(np.int32),
    "tensor(int64)": np.dtype(np.int64),
    "tensor(string)": np.dtype(object),
    "tensor(uint8)": np.dtype(np.uint8),
    "tensor(uint16)": np.dtype(np.uint16),
    "tensor(uint32)": np.dtype(np.uint32),
    "tensor(uint64)": np.dtype(np.uint64),
}
"""The types of tensors that go in and come out, as the runtime names them."""

MAPS: Mapping[str, np.dtype[Any]] = {
    "seq(map(int64,tensor(float)))": np.dtype(np.float32),
    "seq(map(string,tensor(float)))": np.dtype(np.float32),
}
"""Outputs of a map for each row, such as probabilities by class; the type of their values."""

FLOATS = (np.dtype(np.float32), np.dtype(np.float64))


class OnnxModel:
    """A model in memory.

    `inputs`: the type and the number of dimensions of each, by name.
    `tensors`: its outputs.
    """

    def __init__(self, session: InferenceSession) -> None:
        self.inputs = {
            given.name: (_type(given.name, given.type, TYPES), len(given.shape))
            for given in session.get_inputs()
        }
        self.tensors = [_described(found) for found in session.get_outputs()]
        self._names = [found.name for found in session.get_outputs()]
        self._run = session.run

    def predict(self, data: Natural | Mapping[str, Any]) -> Outputs:
        """The outputs. What is wrong with the rows raises `ValueError`, or what the runtime has."""
        framed = isinstance(data, pd.DataFrame)
        return Outputs(self.run(self._feeds(data)), framed=framed)

    def run(self, feeds: Mapping[str, NDArray[Any]]) -> dict[str, NDArray[Any]]:
        """The outputs, by name."""
        return dict(zip(self._names, map(_array, self._run(self._names, feeds)), strict=True))

    def _feeds(self, data: Natural | Mapping[str, Any]) -> dict[str, NDArray[Any]]:
        if isinstance(data, pd.DataFrame) and len(self.inputs) > 1:
            given = {name: _column(data, name) for name in self.inputs}
        elif isinstance(data, Mapping):
            given = {str(name): np.asarray(values) for name, values in data.items()}
            if given.keys() != self.inputs.keys():
                raise ValueError(f"it takes {', '.join(self.inputs)}, and is given {list(given)}")
        elif len(self.inputs) == 1:
            values = data.to_numpy() if isinstance(data, pd.DataFrame) else np.asarray(data)
            given = dict.fromkeys(self.inputs, values)
        else:
            raise ValueError(f"it takes {', '.join(self.inputs)}, and an array has no names")
        return {name: _fitted(name, values, *self.inputs[name]) for name, values in given.items()}


class OnnxEngine:
    """The same for rows that are numbers, without the data frame that they would make."""

    name = "onnxruntime"

    def __init__(self, model: OnnxModel, signature: Signature) -> None:
        [(self._input, (self._dtype, _))] = model.inputs.items()
        self._run = model.run
        self._framed = not signature.is_tensor

    def predict(self, matrix: Matrix) -> Outputs | None:
        """The outputs; None where the model is to say what is wrong."""
        try:
            feeds = {self._input: matrix.astype(self._dtype, copy=False)}
            return Outputs(self._run(feeds), framed=self._framed)
        except Exception:  # noqa: BLE001 - the model itself says it again
            return None


def open_model(path: Path, signature: Signature | None) -> OnnxModel:
    """The model of a file that was looked through. Raises `ModelRefusedError`."""
    try:
        session = open_file(path)
    except Exception as error:  # noqa: BLE001 - the runtime has a class for each of its reasons
        raise ModelRefusedError(f"its file {path.name} does not load: {error}") from None
    model = OnnxModel(session)
    if signature is not None:
        _check(model, signature, [given.shape for given in session.get_inputs()])
    return model


def engine_of(model: OnnxModel, signature: Signature | None) -> OnnxEngine | None:
    """What predicts from numbers at once; None where they are not what the model takes."""
    types = [dtype for dtype, _ in model.inputs.values()]
    if signature is None or not signature.numeric or len(types) > 1 or types[0] not in FLOATS:
        return None
    return OnnxEngine(model, signature)


def _check(model: OnnxModel, signature: Signature, shapes: list[list[Any]]) -> None:
    if len(model.inputs) > 1:
        columns = {column.name for column in signature.columns}
        if signature.is_tensor or not signature.named:
            raise ModelRefusedError(
                f"it takes {', '.join(model.inputs)}, and its signature has no names for them; log"
                " it with the signature of a data frame"
            )
        if missing := model.inputs.keys() - columns:
            raise ModelRefusedError(
                f"it takes {', '.join(sorted(missing))}, which its signature has no column for"
            )
        return
    [shape], width = shapes, len(signature.columns)
    if len(shape) == len(("rows", "columns")) and isinstance(shape[1], int) and shape[1] != width:
        raise ModelRefusedError(f"it takes {shape[1]} columns, and its signature has {width}")


def _type(name: str, given: str, known: Mapping[str, np.dtype[Any]]) -> np.dtype[Any]:
    dtype = known.get(given)
    if dtype is None:
        raise ModelRefusedError(f"its {name} is {given}, and only {', '.join(known)} are served")
    return dtype


def _described(found: Any) -> TensorMetadata:
    dtype = _type(found.name, found.type, {**TYPES, **MAPS})
    if found.type in MAPS:
        return TensorMetadata(found.name, datatype(dtype), [-1, -1])
    shape = [size if isinstance(size, int) else -1 for size in found.shape]
    return TensorMetadata(found.name, datatype(dtype), shape)


def _column(data: pd.DataFrame, name: str) -> NDArray[Any]:
    if name not in data:
        raise ValueError(f"there is no column {name}")
    values: NDArray[Any] = data[name].to_numpy()
    return values


def _fitted(name: str, values: NDArray[Any], dtype: np.dtype[Any], dimensions: int) -> NDArray[Any]:
    """The values in the type and form that the model takes, where nothing is lost by it."""
    if values.ndim == 1 and dimensions == len("nk"):
        values = values.reshape(-1, 1)
    if dtype.hasobject:
        values = values.astype(object)
        if not all(isinstance(value, str) for value in values.flat):
            raise ValueError(f"{name} must be text, and a value is missing or something else")
        return values
    if not np.can_cast(values.dtype, dtype, "same_kind"):
        raise ValueError(f"{name} must be {dtype}, and is {values.dtype}")
    return values.astype(dtype, copy=False)


def _array(output: Any) -> NDArray[Any]:
    if not isinstance(output, list):
        return np.asarray(output)
    array = np.empty(len(output), dtype=object)
    array[:] = output
    return array
