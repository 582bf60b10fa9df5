"""Tensors of the Open Inference Protocol v2, in whatever form they come; and as binary data."""

import struct
from collections.abc import Container, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from api_host.kinds import DATATYPES, Kind, described
from api_host.problems import Mistake, invalid_input, pointer, too_many_rows

LARGEST_DIMENSION = 2**64 - 1

_LENGTH = struct.Struct("<I")
_NOT_HERE = ("classification", "shared_memory_region")
"""Parameters of Triton's extensions without which the answer would be another one."""


@dataclass(frozen=True)
class Tensor:
    """An input.

    `index`: its place among the inputs.
    `shape`: rows, or rows and columns.
    `array`: its elements, row by row, in one dimension.
    `nested`: whether the JSON holds an array a row.
    `member`: what holds the elements in the request.
    """

    index: int
    name: str
    shape: tuple[int, ...]
    array: NDArray[Any]
    nested: bool = False
    member: str = "data"

    @property
    def width(self) -> int:
        """How many columns it has."""
        return self.shape[1] if len(self.shape) > 1 else 1

    def place(self, index: int) -> str:
        """The pointer to an element; one of binary data is named as if it were a value."""
        steps = divmod(index, self.width) if self.nested else (index,)
        return pointer("inputs", self.index, self.member, *steps)


@dataclass(frozen=True)
class Wanted:
    """An output that the caller asks for, and whether as binary data."""

    name: str
    binary: bool


@dataclass(frozen=True)
class Question:
    """A request.

    `id`: the caller's name for it; None if it has none.
    `outputs`: what is asked for; empty for all that there is.
    `binary`: whether outputs that are not named are to be binary data.
    """

    id: str | None
    inputs: tuple[Tensor, ...]
    outputs: tuple[Wanted, ...]
    binary: bool

    def choose(self, outputs: Mapping[str, NDArray[Any]]) -> Sequence[Wanted]:
        """Which of the outputs that there are it wants. Raises `Problem` if there is no such."""
        wanted = self.outputs or [Wanted(name, self.binary) for name in outputs]
        mistakes = [
            Mistake(pointer("outputs", index, "name"), f"must be one of {', '.join(outputs)}")
            for index, output in enumerate(wanted)
            if output.name not in outputs
        ]
        if mistakes:
            raise invalid_input(mistakes)
        return wanted


class WrongInput(Exception):  # noqa: N818 - it becomes a part of a Problem
    """What is wrong with one input: the others are looked at too."""

    def __init__(self, *mistakes: Mistake) -> None:
        super().__init__()
        self.mistakes = mistakes


def datatype(dtype: np.dtype[Any]) -> str:
    """The protocol's name for numpy's type."""
    return _NAMES.get(dtype, "BYTES")


_NAMES = {kind.dtype: name for name, kind in DATATYPES.items()}


def check(index: int, datatype: str, shape: Sequence[int], most_rows: int) -> tuple[Kind, int]:
    """The type and the number of elements that an input says it has. Raises `WrongInput`.

    `index`: its place among the inputs.
    `most_rows`: how many rows it may have; if it has more, raises `Problem`.
    """
    kind = DATATYPES.get(datatype)
    if kind is None:
        detail = f"must be one of {', '.join(DATATYPES)}, and is {described(datatype)}"
        raise WrongInput(Mistake(pointer("inputs", index, "datatype"), detail))
    place = pointer("inputs", index, "shape")
    if len(shape) not in (1, 2):
        detail = f"must be [rows] or [rows, columns], and has {len(shape)} dimensions"
        raise WrongInput(Mistake(place, detail))
    if not all(0 <= dimension <= LARGEST_DIMENSION for dimension in shape):
        raise WrongInput(Mistake(place, f"must have numbers from 0 to {LARGEST_DIMENSION}"))
    rows = shape[0]
    if rows > most_rows:
        raise too_many_rows(rows, most_rows)
    if rows == 0:
        raise WrongInput(Mistake(place, "must have at least one row"))
    return kind, rows * shape[-1] if len(shape) > 1 else rows


def refuse_unknown(parameters: Container[str], *steps: str | int) -> Iterable[Mistake]:
    """The parameters that may not be ignored, as mistakes of what these steps lead to."""
    for name in _NOT_HERE:
        if name in parameters:
            yield Mistake(
                pointer(*steps, "parameters", name), "is of an extension that this host has not"
            )


def from_binary(kind: Kind, count: int, data: bytes | memoryview, place: str) -> NDArray[Any]:
    """The `count` elements that binary data hold. Raises `WrongInput`.

    `place`: what a mistake is blamed on.
    """
    if kind.dtype.hasobject:
        return np.array(list(_texts(memoryview(data), count, place)), dtype=object)
    size = count * kind.dtype.itemsize
    if len(data) != size:
        detail = f"must be {size} bytes, for {count} of {kind.name}, and is {len(data)}"
        raise WrongInput(Mistake(place, detail))
    if kind.name == "BOOL" and np.frombuffer(data, np.uint8).max(initial=0) > 1:
        raise WrongInput(Mistake(place, "is of bytes that are not all 0 or 1"))
    return np.frombuffer(data, kind.dtype)


def to_binary(array: NDArray[Any]) -> bytes:
    """The elements of an output as binary data."""
    if datatype(array.dtype) != "BYTES":
        return array.tobytes()
    texts = to_texts(array)
    return b"".join(part for text in texts for part in (_LENGTH.pack(len(text)), text))


def to_texts(array: NDArray[Any]) -> list[bytes]:
    """The elements of an output that are no numbers, each as the bytes that stand for it."""
    return [
        value if isinstance(value, bytes) else str(value).encode()
        for value in array.ravel().tolist()
    ]


def _texts(data: memoryview, count: int, place: str) -> Iterable[bytes]:
    start = 0
    for _ in range(count):
        head = start + _LENGTH.size
        end = head + _LENGTH.unpack_from(data, start)[0] if head <= len(data) else head
        if end > len(data):
            detail = f"is too small for {count} elements and their lengths"
            raise WrongInput(Mistake(place, detail))
        yield bytes(data[head:end])
        start = end
    if start != len(data):
        detail = f"is {len(data)} bytes, and {count} elements end after {start}"
        raise WrongInput(Mistake(place, detail))
