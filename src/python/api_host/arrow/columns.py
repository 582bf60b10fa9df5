"""The values of Arrow columns, from the body of a message that nothing vouches for."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from api_host.arrow.metadata import Batch, Field, Form, Type, broken

Values: TypeAlias = NDArray[Any] | list[Any]
"""Numbers, truths and moments are an array; all others, and those with nulls, may be a list."""

_MOMENT = np.dtype("<M8[ns]")
_BYTE = np.dtype(np.uint8)


class _Parts:
    """The buffers of a batch, one after the other."""

    def __init__(self, batch: Batch, body: bytes) -> None:
        self._places = iter(batch.buffers)
        self._body = memoryview(body)

    def next(self) -> memoryview:
        offset, size = next(self._places, (0, -1))
        if offset < 0 or size < 0 or offset + size > len(self._body):
            raise broken("a column is not within its record batch")
        return self._body[offset : offset + size]

    def array(self, dtype: np.dtype[Any], count: int) -> NDArray[Any]:
        part = self.next()
        if len(part) < count * dtype.itemsize:
            raise broken("a column is shorter than its record batch")
        return np.frombuffer(part, dtype, count)

    def bits(self, count: int) -> NDArray[Any]:
        return self.array(_BYTE, (count + 7) // 8)


@dataclass(frozen=True)
class Column:
    """The values of a column, which are made when they are asked for.

    `valid`: a bit a value, 0 for null; None where none is null.
    `data`: the values, or bits, or where each begins in `heap`; None where all are null.
    `heap`: the bytes of texts.
    `meanings`: of a dictionary, by its index; None where the values mean themselves.
    """

    type: Type
    valid: NDArray[Any] | None
    data: NDArray[Any] | None
    heap: memoryview
    meanings: Values | None = None

    def values(self, start: int, stop: int) -> Values:
        """Some of the values. Raises `Problem` where they cannot be read."""
        if self.data is None:
            return [None] * (stop - start)
        valid = None if self.valid is None else _bits(self.valid, start, stop)
        found = self._found(self.data, start, stop)
        if self.meanings is not None:
            return _looked_up(found, valid, self.meanings)
        if valid is None or valid.all():
            return found
        if isinstance(found, np.ndarray) and found.dtype.kind in "fM":
            nothing = np.datetime64("NaT") if found.dtype.kind == "M" else np.nan
            return np.where(valid, found, np.array(nothing, found.dtype))
        return [value if ok else None for value, ok in zip(_listed(found), valid, strict=True)]

    def _found(self, data: NDArray[Any], start: int, stop: int) -> Values:
        match self.type.form:
            case Form.BOOL:
                return _bits(data, start, stop)
            case Form.DATE | Form.TIMESTAMP:
                return _moments(data[start:stop], self.type.unit)
            case Form.TEXT | Form.LARGE_TEXT:
                return [_text(each) for each in self._pieces(data[start : stop + 1])]
            case Form.BINARY | Form.LARGE_BINARY:
                return self._pieces(data[start : stop + 1])
        return data[start:stop]

    def _pieces(self, offsets: NDArray[Any]) -> list[bytes]:
        ends: list[int] = offsets.tolist()
        if ends[0] < 0 or ends[-1] > len(self.heap) or np.any(np.diff(offsets) < 0):
            raise broken("a text is not within its column")
        return [bytes(self.heap[a:b]) for a, b in pairwise(ends)]


def open_columns(
    fields: Sequence[Field], batch: Batch, body: bytes, dictionaries: Mapping[int, Values]
) -> list[Column]:
    """The columns of a record batch. Raises `Problem`."""
    if len(batch.nodes) != len(fields):
        raise broken(f"a record batch has {len(batch.nodes)} columns, and not {len(fields)}")
    parts = _Parts(batch, body)
    return [
        _column(field, node, batch.rows, parts, dictionaries)
        for field, node in zip(fields, batch.nodes, strict=True)
    ]


def _column(
    field: Field,
    node: tuple[int, int],
    rows: int,
    parts: _Parts,
    dictionaries: Mapping[int, Values],
) -> Column:
    if node[0] != rows:
        raise broken(f"a column has {node[0]} values in a record batch of {rows} rows")
    meanings = None
    stored = field.type
    if field.dictionary is not None:
        stored = field.index
        meanings = dictionaries.get(field.dictionary)
        if meanings is None:
            raise broken(f"there is no dictionary for the column {field.name}")
    assert stored is not None  # noqa: S101 - a schema with others was refused
    return _read(stored, rows, nulls=node[1] != 0, parts=parts, meanings=meanings)


def read_dictionary(stored: Type, batch: Batch, body: bytes) -> Values:
    """The values of a dictionary. Raises `Problem`."""
    if len(batch.nodes) != 1 or batch.nodes[0][0] != batch.rows:
        raise broken("a dictionary is not one column")
    nulls = batch.nodes[0][1] != 0
    column = _read(stored, batch.rows, nulls=nulls, parts=_Parts(batch, body), meanings=None)
    return column.values(0, batch.rows)


def _read(
    stored: Type, rows: int, *, nulls: bool, parts: _Parts, meanings: Values | None
) -> Column:
    heap = memoryview(b"")
    if stored.form is Form.NULL:
        return Column(stored, None, None, heap)
    if nulls:
        valid = parts.bits(rows)
    else:
        parts.next()
        valid = None
    match stored.form:
        case Form.BOOL:
            data = parts.bits(rows)
        case Form.TEXT | Form.BINARY | Form.LARGE_TEXT | Form.LARGE_BINARY:
            large = stored.form in (Form.LARGE_TEXT, Form.LARGE_BINARY)
            # An empty column may do without its only offset.
            data = parts.array(np.dtype("<i8" if large else "<i4"), rows + 1 if rows else 0)
            heap = parts.next()
        case _:
            data = parts.array(np.dtype(stored.dtype), rows)
    return Column(stored, valid, data, heap, meanings)


def _bits(packed: NDArray[Any], start: int, stop: int) -> NDArray[np.bool_]:
    first = start // 8 * 8
    bits = np.unpackbits(packed[start // 8 : (stop + 7) // 8], bitorder="little")
    return bits[start - first : stop - first].astype(bool)


def _moments(counts: NDArray[Any], unit: str) -> NDArray[Any]:
    found = counts.astype("<i8").view(f"<M8[{unit}]")
    moments = found.astype(_MOMENT)
    # Numpy does not say that a moment is out of the range of nanoseconds: it takes another one.
    if not np.array_equal(moments.astype(found.dtype), found, equal_nan=True):
        raise broken("a moment is not between the years 1678 and 2262")
    return moments


def _text(data: bytes) -> str | bytes:
    try:
        return data.decode()
    except UnicodeDecodeError:
        return data  # The checker says that it is no text, and where.


def _looked_up(found: Values, valid: NDArray[np.bool_] | None, meanings: Values) -> list[Any]:
    places = np.asarray(found)
    sure = places if valid is None else places[valid]
    if sure.size and (sure.min() < 0 or sure.max() >= len(meanings)):
        raise broken("a value is not in its dictionary")
    listed = [*_listed(meanings), None]
    # The place of a null may hold anything.
    places = places if valid is None else np.where(valid, places, len(meanings))
    return [listed[place] for place in places.tolist()]


def _listed(values: Values) -> list[Any]:
    return values.tolist() if isinstance(values, np.ndarray) else values
