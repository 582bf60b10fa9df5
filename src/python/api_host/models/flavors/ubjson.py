"""Reads Universal Binary JSON, the format of XGBoost's files.

The library's own reader follows a spoiled file out of its memory and ends the process.
"""

from typing import Any

import numpy as np

DEEPEST = 32

_TYPES: dict[bytes, np.dtype[Any]] = {
    b"i": np.dtype(">i1"),
    b"U": np.dtype(">u1"),
    b"I": np.dtype(">i2"),
    b"l": np.dtype(">i4"),
    b"L": np.dtype(">i8"),
    b"d": np.dtype(">f4"),
    b"D": np.dtype(">f8"),
}
_WORDS = {b"T": True, b"F": False, b"Z": None}


def read_ubjson(data: bytes) -> Any:
    """The value; an array of numbers of one type is numpy's. Raises `ValueError`."""
    try:
        return _Reader(data).value(DEEPEST)
    except (UnicodeDecodeError, OverflowError) as error:
        raise ValueError(str(error)) from None


class _Reader:
    def __init__(self, data: bytes) -> None:
        self._data = data
        self._at = 0

    def value(self, depth: int) -> Any:
        mark = self._take(1)
        if mark in _TYPES:
            return self._number(mark)
        if mark in _WORDS:
            return _WORDS[mark]
        if not depth:
            raise ValueError("it is nested too deeply")
        match mark:
            case b"S":
                return self._text()
            case b"[":
                return self._array(depth - 1)
            case b"{":
                return self._object(depth - 1)
        raise ValueError(f"{mark!r} is no type")

    def _object(self, depth: int) -> dict[str, Any]:
        found = {}
        while not self._skip(b"}"):
            name = self._text()
            found[name] = self.value(depth)
        return found

    def _array(self, depth: int) -> Any:
        if self._skip(b"$"):
            dtype = _TYPES[self._one_of(_TYPES)]
            self._expect(b"#")
            count = self._count()
            return np.frombuffer(self._take(count * dtype.itemsize), dtype)
        if self._skip(b"#"):
            return [self.value(depth) for _ in range(self._count())]
        values = []
        while not self._skip(b"]"):
            values.append(self.value(depth))
        return values

    def _text(self) -> str:
        return self._take(self._count()).decode()

    def _count(self) -> int:
        count = self._number(self._one_of(_TYPES))
        if not isinstance(count, int) or not 0 <= count <= len(self._data) - self._at:
            raise ValueError(f"{count} is no length")
        return count

    def _number(self, mark: bytes) -> int | float:
        dtype = _TYPES[mark]
        number: int | float = np.frombuffer(self._take(dtype.itemsize), dtype)[0].item()
        return number

    def _one_of(self, marks: dict[bytes, Any]) -> bytes:
        mark = self._take(1)
        if mark not in marks:
            raise ValueError(f"{mark!r} is no type of numbers")
        return mark

    def _expect(self, mark: bytes) -> None:
        if not self._skip(mark):
            raise ValueError(f"{mark!r} is missing")

    def _skip(self, mark: bytes) -> bool:
        if self._data[self._at : self._at + 1] != mark:
            return False
        self._at += 1
        return True

    def _take(self, size: int) -> bytes:
        end = self._at + size
        if end > len(self._data):
            raise ValueError("it ends too early")
        part = self._data[self._at : end]
        self._at = end
        return part
