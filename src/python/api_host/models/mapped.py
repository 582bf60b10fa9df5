"""Large arrays of a model, mapped from files beside its copy: all workers share their memory."""

import os
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

MEBIBYTE = 1024 * 1024
LARGE_BYTES = MEBIBYTE
"""From here an array has a file of its own."""

NAME = "array-{}.npy"

_Array = NDArray[Any]


def map_arrays(estimator: Any, folder: Path) -> None:
    """Puts files below `folder` in the place of the large arrays of an estimator.

    They are written unless they are there, and compared in any case with what the model's own file
    holds. Where they cannot be written, the arrays stay as they are.
    """
    mapped: dict[int, _Array] = {}
    for place in list(_places(estimator, set())):
        array = place.array
        if id(array) not in mapped:
            mapped[id(array)] = _mapped(array, folder / NAME.format(len(mapped)))
        place.holder[place.key] = mapped[id(array)]


@dataclass(frozen=True)
class _Place:
    """Where an array hangs: the attributes of an object, or a list or dictionary."""

    holder: Any
    key: Any
    array: _Array


def _places(value: Any, seen: set[int]) -> Iterator[_Place]:
    """Where the large arrays are, as far as Python can see: what is compiled copies its own."""
    if id(value) in seen:
        return
    seen.add(id(value))
    holder = value if isinstance(value, list | dict | tuple) else getattr(value, "__dict__", {})
    items = holder.items() if isinstance(holder, dict) else enumerate(holder)
    for key, item in list(items):
        if not isinstance(item, np.ndarray):
            yield from _places(item, seen)
        elif _is_large(item) and not isinstance(holder, tuple):
            yield _Place(holder, key, item)


def _is_large(array: _Array) -> bool:
    is_whole = array.flags.c_contiguous or array.flags.f_contiguous
    is_plain = type(array) is np.ndarray and not array.dtype.hasobject
    return is_whole and is_plain and array.nbytes >= LARGE_BYTES


def _mapped(array: _Array, path: Path) -> _Array:
    try:
        found = _open(array, path)
        if found is None:
            _write(array, path)
            found = _open(array, path)
    except OSError:
        return array
    return array if found is None else found


def _open(array: _Array, path: Path) -> _Array | None:
    """The array in a file, if it is this one."""
    try:
        # Some functions of scikit-learn insist that they may write: then it is into a copy.
        found: _Array = np.asarray(np.load(path, mmap_mode="c"))
    except (FileNotFoundError, ValueError, EOFError):
        return None
    return found if _is_same(found, array) else None


def _is_same(found: _Array, array: _Array) -> bool:
    if (found.dtype, found.shape, found.strides) != (array.dtype, array.shape, array.strides):
        return False
    left, right = _bytes(found), _bytes(array)
    starts = range(0, len(left), MEBIBYTE)
    return all(np.array_equal(left[i : i + MEBIBYTE], right[i : i + MEBIBYTE]) for i in starts)


def _bytes(array: _Array) -> NDArray[np.uint8]:
    """So that NaN is NaN."""
    return array.reshape(-1, order="A").view(np.uint8)


def _write(array: _Array, path: Path) -> None:
    descriptor, name = tempfile.mkstemp(prefix=f".{path.name}-", dir=path.parent)
    temporary = Path(name)
    try:
        with os.fdopen(descriptor, "wb") as file:
            np.save(file, array, allow_pickle=False)
        # Whoever has mapped the file that was there keeps that.
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)
