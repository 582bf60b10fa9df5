"""Bodies of `/v1` that hold numbers alone, read without a look of Python's at each value."""

import re
from collections.abc import Mapping, Sequence
from typing import Annotated, Any

import msgspec
import numpy as np
from msgspec import Meta

from api_host.kinds import Column
from api_host.table import Matrix

LARGEST_WHOLE = 2**53
"""Up to here each whole number is a float64 too."""

_TYPES: Mapping[str, Any] = {
    "integer": Annotated[int, Meta(ge=-(2**31), le=2**31 - 1)],
    "long": Annotated[int, Meta(ge=-LARGEST_WHOLE, le=LARGEST_WHOLE)],
    "float": float | None,
    "double": float | None,
}


_ODD = re.compile(r'[\\"\x00-\x1f]')
"""What msgspec takes in no name of a member."""


def all_numbers(columns: Sequence[Column]) -> bool:
    """Whether rows of these columns are rows of a matrix."""
    return all(column.kind.name in _TYPES for column in columns)


def all_doubles(columns: Sequence[Column]) -> bool:
    """Whether any number is right in each of these columns."""
    return all(column.kind.name == "double" for column in columns)


def reader_of(columns: Sequence[Column], *, named: bool) -> "MatrixReader | None":
    """The reader for these columns; None if there is none."""
    plain = not named or all(is_plain_name(str(column.name)) for column in columns)
    return MatrixReader(columns, named=named) if all_numbers(columns) and plain else None


def is_plain_name(name: str) -> bool:
    """Whether msgspec takes it as the name of a member."""
    return _ODD.search(name) is None


class MatrixReader:
    """Reads bodies for columns that are all numbers.

    What it does not take may be right all the same: it is for the reader that also says what is
    wrong, and where.
    """

    def __init__(self, columns: Sequence[Column], *, named: bool) -> None:
        self._narrow = [i for i, column in enumerate(columns) if column.kind.name == "float"]
        self._named = named
        types = [_TYPES[column.kind.name] for column in columns]
        if named:
            names = [str(column.name) for column in columns]
            self._rows = _decoder("rows", list[members(names, types)])  # type: ignore[misc]
            lists = [list[each] for each in types]  # type: ignore[valid-type]
            self._columns = _decoder("columns", members(names, lists))
        else:
            self._rows = _decoder("rows", list[tuple[*types]])  # type: ignore[valid-type]

    def read(self, body: bytes) -> Matrix | None:
        """The numbers of a body; None if it is not of the simple form, or not right."""
        try:
            (rows,) = msgspec.structs.astuple(self._rows.decode(body))
        except msgspec.MsgspecError:
            return self._read_columns(body) if self._named else None
        if self._named:
            rows = [msgspec.structs.astuple(row) for row in rows]
        return self._narrowed(np.array(rows, dtype=np.float64)) if rows else None

    def _read_columns(self, body: bytes) -> Matrix | None:
        try:
            (columns,) = msgspec.structs.astuple(self._columns.decode(body))
        except msgspec.MsgspecError:
            return None
        lists = msgspec.structs.astuple(columns)
        if not lists[0] or len({len(values) for values in lists}) > 1:
            return None
        return self._narrowed(np.array(lists, dtype=np.float64).T.copy())

    def _narrowed(self, matrix: Matrix) -> Matrix | None:
        """The same, rounded to float32 where a column is; None if a value is too large for it."""
        for index in self._narrow:
            values = matrix[:, index]
            if (np.abs(values) > np.finfo(np.float32).max).any():
                return None
            matrix[:, index] = values.astype(np.float32)
        return matrix


def _decoder(name: str, type_: Any) -> msgspec.json.Decoder[Any]:
    return msgspec.json.Decoder(members([name], [type_]))


def members(names: Sequence[str], types: Sequence[Any]) -> type[msgspec.Struct]:
    """A type of objects with exactly these members, whatever their names are."""
    fields = [f"member_{index}" for index in range(len(names))]
    return msgspec.defstruct(
        "Members",
        list(zip(fields, types, strict=True)),
        rename=dict(zip(fields, names, strict=True)),
        forbid_unknown_fields=True,
    )
