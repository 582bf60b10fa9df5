"""Writes protobuf messages: as much of the format as an ONNX model needs."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

_NUMBER, _BYTES = 0, 2

_BITS, _LOW, _MORE = 7, 127, 128
"""Of a number, in each of its bytes; the eighth bit says that more follow."""


def message(*fields: tuple[int, int | bytes]) -> bytes:
    """A message of numbers that are not negative, and of bytes: texts and messages."""
    parts: list[bytes] = []
    for number, value in fields:
        if isinstance(value, int):
            parts += [_varint(number << 3 | _NUMBER), _varint(value)]
        else:
            parts += [_varint(number << 3 | _BYTES), _varint(len(value)), value]
    return b"".join(parts)


def packed(values: NDArray[Any]) -> bytes:
    """Many numbers as one field, each in as many bytes as the largest needs."""
    numbers = values.astype(np.uint64).reshape(-1, 1)
    width = max(1, -(-int(numbers.max(initial=0)).bit_length() // _BITS))
    shifts = np.arange(width, dtype=np.uint64) * np.uint64(_BITS)
    parts = (numbers >> shifts & np.uint64(_LOW)).astype(np.uint8)
    parts[:, :-1] |= _MORE
    return parts.tobytes()


def _varint(value: int) -> bytes:
    parts = bytearray()
    while value >> _BITS:
        parts.append(value & _LOW | _MORE)
        value >>= _BITS
    parts.append(value)
    return bytes(parts)
