"""The metadata of Arrow's messages: FlatBuffers, in which nothing is believed before it is checked.

Arrow's own decoders in C trust a message more than a server may.
"""

import struct
from collections.abc import Iterator
from dataclasses import dataclass
from enum import IntEnum
from typing import Any

from api_host.bounds import Bounds
from api_host.problems import INVALID_BODY, Problem

BUFFERS_OF_A_COLUMN = 3
MOST_NAME_BYTES = 1_024


class Header(IntEnum):
    """What a message holds."""

    SCHEMA = 1
    DICTIONARY = 2
    BATCH = 3


class Form(IntEnum):
    """The types of columns that are read. The numbers are Arrow's."""

    NULL = 1
    INT = 2
    FLOAT = 3
    BINARY = 4
    TEXT = 5
    BOOL = 6
    DATE = 8
    TIMESTAMP = 10
    LARGE_BINARY = 19
    LARGE_TEXT = 20


_NAMES = {
    7: "decimal",
    9: "time",
    11: "interval",
    12: "list",
    13: "struct",
    14: "union",
    15: "fixed-size binary",
    16: "fixed-size list",
    17: "map",
    18: "duration",
    21: "large list",
    22: "run-end encoded",
    23: "binary view",
    24: "string view",
    25: "list view",
    26: "large list view",
}


@dataclass(frozen=True)
class Type:
    """The type of a column.

    `dtype`: numpy's name of what is in memory; empty where there is more than one array.
    `unit`: of moments, as numpy names it.
    """

    form: Form
    dtype: str = ""
    unit: str = ""

    def __str__(self) -> str:
        return self.form.name.lower().replace("_", " ")


@dataclass(frozen=True)
class Field:
    """A column.

    `type`: None if it is one that is not read.
    `type_name`: for a person.
    `dictionary`: the number of the dictionary that holds the values; then `index` is the type of
    what is in the batches.
    """

    name: str
    type: Type | None
    type_name: str
    dictionary: int | None = None
    index: Type | None = None


@dataclass(frozen=True)
class Batch:
    """Where the columns of some rows are.

    `nodes`: rows and nulls of each column.
    `buffers`: offset and length of each buffer in the message's body.
    """

    rows: int
    nodes: tuple[tuple[int, int], ...]
    buffers: tuple[tuple[int, int], ...]


@dataclass(frozen=True)
class Dictionary:
    """The values of dictionary `number`."""

    number: int
    batch: Batch


@dataclass(frozen=True)
class Message:
    """The head of a message.

    `body_bytes`: the length of the body that follows it.
    """

    content: tuple[Field, ...] | Dictionary | Batch
    body_bytes: int


def broken(detail: str) -> Problem:
    """What is said to a stream that cannot be read."""
    return Problem(INVALID_BODY, f"the body is not an Arrow IPC stream: {detail}")


def read_message(metadata: bytes, bounds: Bounds) -> Message:
    """The head that these bytes hold. Raises `Problem`."""
    root = _Table(metadata, _value("<I", metadata, 0), bounds)
    kind, header = root.number(1, "<B"), root.table(2)
    body_bytes = root.number(3, "<q")
    if header is None or body_bytes < 0:
        raise broken("a message has no header")
    match kind:
        case Header.SCHEMA:
            return Message(_schema(header), body_bytes)
        case Header.DICTIONARY:
            return Message(_dictionary(header), body_bytes)
        case Header.BATCH:
            return Message(_batch(header), body_bytes)
    raise broken(f"a message is of type {kind}")


def _value(form: str, data: bytes, at: int) -> Any:
    if at < 0:
        raise broken("its metadata point outside of themselves")
    try:
        return struct.unpack_from(form, data, at)[0]
    except struct.error:
        raise broken("its metadata point outside of themselves") from None


@dataclass(frozen=True)
class _Table:
    """A table of FlatBuffers: its fields are found by number, and may be absent."""

    data: bytes
    at: int
    bounds: Bounds

    def _field(self, number: int) -> int | None:
        layout = self.at - _value("<i", self.data, self.at)
        place = 4 + 2 * number
        if place + 2 > _value("<H", self.data, layout):
            return None
        offset: int = _value("<H", self.data, layout + place)
        return self.at + offset if offset else None

    def has(self, number: int) -> bool:
        return self._field(number) is not None

    def number(self, number: int, form: str, default: int = 0) -> int:
        at = self._field(number)
        return default if at is None else int(_value(form, self.data, at))

    def _target(self, number: int) -> int | None:
        at = self._field(number)
        return None if at is None else at + int(_value("<I", self.data, at))

    def table(self, number: int) -> "_Table | None":
        at = self._target(number)
        return None if at is None else _Table(self.data, at, self.bounds)

    def text(self, number: int) -> str:
        at = self._target(number)
        if at is None:
            return ""
        size = _value("<I", self.data, at)
        if size > MOST_NAME_BYTES:
            raise broken(f"the name of a column has more than {MOST_NAME_BYTES} bytes")
        try:
            return self.data[at + 4 : at + 4 + size].decode()
        except UnicodeDecodeError:
            raise broken("the name of a column is not UTF-8") from None

    def _vector(self, number: int, size: int, *, of_a_column: int = 1) -> range:
        """Where the elements of a vector are."""
        at = self._target(number)
        if at is None:
            return range(0)
        count = _value("<I", self.data, at)
        self.bounds.check_columns(-(-count // of_a_column))
        return range(at + 4, at + 4 + count * size, size)

    def tables(self, number: int) -> "Iterator[_Table]":
        for at in self._vector(number, 4):
            yield _Table(self.data, at + int(_value("<I", self.data, at)), self.bounds)

    def pairs(self, number: int) -> tuple[tuple[int, int], ...]:
        return tuple(
            (_value("<q", self.data, at), _value("<q", self.data, at + 8))
            for at in self._vector(number, 16, of_a_column=BUFFERS_OF_A_COLUMN)
        )


def _schema(table: _Table) -> tuple[Field, ...]:
    if table.number(0, "<h"):
        raise broken("its numbers are big-endian")
    return tuple(map(_read_field, table.tables(1)))


def _read_field(table: _Table) -> Field:
    form, details = table.number(2, "<B"), table.table(3)
    name = table.text(0)
    type_ = _type(form, details) if details else None
    type_name = str(type_) if type_ else _NAMES.get(form, f"of type {form}")
    encoding = table.table(4)
    if encoding is None:
        return Field(name, type_, type_name)
    index = encoding.table(1)
    index_type = _integer(index) if index else Type(Form.INT, "<i4")
    if index_type is None:
        raise broken(f"the dictionary of the column {name} has an index of no type")
    return Field(name, type_, type_name, encoding.number(0, "<q"), index_type)


def _type(form: int, details: _Table) -> Type | None:
    match form:
        case Form.INT:
            return _integer(details)
        case Form.FLOAT:
            precision = details.number(0, "<h")
            return Type(Form.FLOAT, f"<f{2 << precision}") if precision in (0, 1, 2) else None
        case Form.DATE:
            days = details.number(0, "<h", 1) == 0
            return Type(Form.DATE, "<i4", "D") if days else Type(Form.DATE, "<i8", "ms")
        case Form.TIMESTAMP:
            unit = details.number(0, "<h")
            units = ("s", "ms", "us", "ns")
            return Type(Form.TIMESTAMP, "<i8", units[unit]) if 0 <= unit < len(units) else None
        case Form.NULL | Form.BINARY | Form.TEXT | Form.BOOL | Form.LARGE_BINARY | Form.LARGE_TEXT:
            return Type(Form(form))
    return None


def _integer(details: _Table) -> Type | None:
    bits = details.number(0, "<i")
    sign = "i" if details.number(1, "<?") else "u"
    return Type(Form.INT, f"<{sign}{bits // 8}") if bits in (8, 16, 32, 64) else None


def _batch(table: _Table) -> Batch:
    if table.has(3):
        raise broken("its record batches are compressed; write them as they are")
    rows = table.number(0, "<q")
    if rows < 0:
        raise broken("a record batch has a negative number of rows")
    return Batch(rows, table.pairs(1), table.pairs(2))


def _dictionary(table: _Table) -> Dictionary:
    data = table.table(1)
    if data is None:
        raise broken("a dictionary has no values")
    if table.number(2, "<?"):
        raise broken("a dictionary adds to another; write whole dictionaries")
    return Dictionary(table.number(0, "<q"), _batch(data))
