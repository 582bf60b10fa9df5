"""The types of values: of a model's columns, as MLflow names them; of tensors, as v2 does."""

import base64
import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from api_host.problems import MOST_ERRORS


@dataclass(frozen=True)
class Kind:
    """A type of values.

    `name`: for instance "double" (MLflow's) or "FP64" (v2's).
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

    def read(
        self, values: Sequence[Any] | NDArray[Any]
    ) -> tuple[NDArray[Any], list[tuple[int, str]]]:
        """The values in this type, and what is wrong with which of them; the first mistakes only.

        `values`: what JSON holds, or an array of numbers or truths.
        """
        if isinstance(values, np.ndarray):
            array = self._cast(values)
            return (array, []) if array is not None else self._one_by_one(values.tolist())
        array = self._all_at_once(values)
        return (array, []) if array is not None else self._one_by_one(values)

    def _all_at_once(self, values: Sequence[Any]) -> NDArray[Any] | None:
        if not self.types.issuperset(map(type, values)):
            return None
        try:
            wide = np.dtype(np.float64) if self.dtype.kind == "f" else self.dtype
            return self._cast(np.array(values, dtype=wide))
        except (OverflowError, ValueError):
            return None

    def _cast(self, array: NDArray[Any]) -> NDArray[Any] | None:
        """The same numbers in this type, or None if one of them is not right."""
        if array.dtype == self.dtype:
            return array
        if array.dtype.kind not in "iuf" or self.dtype.kind not in "iuf":
            return None
        if array.dtype == np.float16:
            array = array.astype(np.float64)  # Or the bounds would have to fit into 16 bits.
        if self.dtype.kind == "f":
            fits = (np.abs(array) <= np.finfo(self.dtype).max) | ~np.isfinite(array)
        else:
            bounds = np.iinfo(self.dtype)
            # The upper bound of 64 bits is no double: the first number that is too large is one.
            top = float(bounds.max) + 1 if array.dtype.kind == "f" else bounds.max + 1
            fits = (array >= bounds.min) & (array < top)
        if not fits.all():
            return None
        found = array.astype(self.dtype)
        return found if self.dtype.kind == "f" or np.array_equal(found, array) else None

    def _one_by_one(self, values: Sequence[Any]) -> tuple[NDArray[Any], list[tuple[int, str]]]:
        good, wrong = [], []
        for index, value in enumerate(values):
            try:
                good.append(self.convert(value))
            except (ValueError, TypeError, OverflowError):
                wrong.append((index, f"must be {self.expected}, and is {described(value)}"))
                if len(wrong) == MOST_ERRORS:
                    break
        if wrong:
            return np.empty(0), wrong
        return np.array(good, dtype=self.dtype), wrong


@dataclass(frozen=True)
class Column:
    """An input of a model.

    `name`: of the column; its position where the signature has no names.
    `required`: whether every request must have it.
    """

    name: str | int
    kind: Kind
    required: bool = True


def described(value: Any) -> str:
    """A value that is not right, as a message names it."""
    match value:
        case None:
            return "null"
        case bool():
            return "true" if value else "false"
        case dict():
            return "an object"
        case list():
            return "an array"
        case str():
            return f"the string {json.dumps(value[:40], ensure_ascii=False)}"
        case _:
            return str(value)[:40]


def _number(value: Any) -> float:
    if value is None:
        return float("nan")
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise TypeError
    return float(value)


def _narrow(dtype: np.dtype[Any]) -> Callable[[Any], float]:
    largest = float(np.finfo(dtype).max)

    def convert(value: Any) -> float:
        number = _number(value)
        if np.isfinite(number) and abs(number) > largest:
            raise OverflowError
        return number

    return convert


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
    return value if isinstance(value, bytes) else base64.b64decode(value, validate=True)


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


def _small(name: str, dtype: str) -> Kind:
    numpy = np.dtype(dtype)
    expected = f"a number that {numpy.itemsize * 8} bits can hold"
    return Kind(name, numpy, expected, _NUMBERS, _narrow(numpy))


_OBJECT = np.dtype(object)
_NEVER: frozenset[type] = frozenset()
_NUMBERS: frozenset[type] = frozenset({int, float, type(None)})
_TEXTS: frozenset[type] = frozenset({str, type(None)})
KINDS = {
    kind.name: kind
    for kind in (
        Kind("boolean", np.dtype(bool), "true or false", frozenset({bool}), _exactly(bool)),
        _whole("integer", "int32"),
        _whole("long", "int64"),
        _small("float", "float32"),
        Kind("double", np.dtype("float64"), "a number", _NUMBERS, _number),
        Kind("string", _OBJECT, "a string", _TEXTS, _text),
        Kind("binary", _OBJECT, "base64 in a string", _NEVER, _bytes),
        Kind("datetime", np.dtype("datetime64[ns]"), "an ISO 8601 moment", _NEVER, _moment),
    )
}
"""MLflow's scalar types by name."""

DATATYPES = {
    kind.name: kind
    for kind in (
        Kind("BOOL", np.dtype(bool), "true or false", frozenset({bool}), _exactly(bool)),
        *(
            _whole(f"{sign}INT{bits}", f"{sign}int{bits}".lower())
            for sign in ("", "U")
            for bits in (8, 16, 32, 64)
        ),
        _small("FP16", "float16"),
        _small("FP32", "float32"),
        Kind("FP64", np.dtype("float64"), "a number", _NUMBERS, _number),
        Kind("BYTES", _OBJECT, "a string", _TEXTS, _text),
    )
}
"""The types of tensors by name, for values in JSON."""
