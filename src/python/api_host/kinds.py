"""The types of values that a model's columns may have, as MLflow names them."""

import base64
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

LARGEST_SINGLE = float(np.finfo(np.float32).max)


@dataclass(frozen=True)
class Kind:
    """A type of values, as MLflow names it.

    `name`: MLflow's name, for instance "double".
    `dtype`: numpy's.
    `expected`: what a value must be, for a person.
    `types`: the JSON types that need no further look.
    `convert`: one value; raises ValueError, TypeError or OverflowError if it is not right.
    """

    name: str
    dtype: np.dtype[Any]
    expected: str
    types: frozenset[type]
    convert: Callable[[Any], Any]

    def array(self, values: Sequence[Any]) -> NDArray[Any] | None:
        """All values at once, or None if one of them is not right."""
        if not self.types.issuperset(map(type, values)):
            return None
        try:
            return np.array(values, dtype=self.dtype)
        except (OverflowError, ValueError):
            return None


def _number(value: Any) -> float:
    if value is None:
        return float("nan")
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise TypeError
    return float(value)


def _single(value: Any) -> float:
    number = _number(value)
    if np.isfinite(number) and abs(number) > LARGEST_SINGLE:
        raise OverflowError
    return number


def _whole_number(dtype: np.dtype[Any]) -> Callable[[Any], int]:
    bounds = np.iinfo(dtype)

    def convert(value: Any) -> int:
        if isinstance(value, bool) or not isinstance(value, int | float) or value != int(value):
            raise TypeError
        if not bounds.min <= value <= bounds.max:
            raise OverflowError
        return int(value)

    return convert


def _exactly(wanted: type) -> Callable[[Any], Any]:
    def convert(value: Any) -> Any:
        if not isinstance(value, wanted):
            raise TypeError
        return value

    return convert


def _text(value: Any) -> str | None:
    if value is not None and not isinstance(value, str):
        raise TypeError
    return value


def _bytes(value: Any) -> bytes:
    return base64.b64decode(value, validate=True)


def _moment(value: Any) -> Any:
    if value is not None and not isinstance(value, str):
        raise TypeError
    moment = pd.Timestamp(value)
    return np.datetime64("NaT") if moment is pd.NaT else moment.to_datetime64()


def _whole(name: str, dtype: str) -> Kind:
    numpy = np.dtype(dtype)
    bounds = np.iinfo(numpy)
    expected = f"a whole number from {bounds.min} to {bounds.max}"
    return Kind(name, numpy, expected, frozenset({int}), _whole_number(numpy))


_OBJECT = np.dtype(object)
_NEVER: frozenset[type] = frozenset()
KINDS = {
    kind.name: kind
    for kind in (
        Kind("boolean", np.dtype(bool), "true or false", frozenset({bool}), _exactly(bool)),
        _whole("integer", "int32"),
        _whole("long", "int64"),
        Kind("float", np.dtype("float32"), "a number that 32 bits can hold", _NEVER, _single),
        Kind(
            "double", np.dtype("float64"), "a number", frozenset({int, float, type(None)}), _number
        ),
        Kind("string", _OBJECT, "a string", frozenset({str, type(None)}), _text),
        Kind("binary", _OBJECT, "base64 in a string", _NEVER, _bytes),
        Kind("datetime", np.dtype("datetime64[ns]"), "an ISO 8601 moment", _NEVER, _moment),
    )
}
"""MLflow's scalar types by name."""
