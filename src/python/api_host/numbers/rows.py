"""Bodies of `/v1` that hold numbers alone."""

from collections.abc import Sequence
from typing import Any

import msgspec
import numpy as np

from api_host.kinds import Column
from api_host.numbers.columns import TYPES, are_readable, array_of, members, narrow, narrowed
from api_host.numbers.matrices import from_columns, from_rows
from api_host.table import Matrix


def rows_of(columns: Sequence[Column], *, named: bool) -> "NumericRows | None":
    """The reader for these columns; None if there is none."""
    return NumericRows(columns, named=named) if are_readable(columns, named=named) else None


class NumericRows:
    """Reads bodies for columns that are all numbers.

    What it does not take may be right all the same: it is for the reader that also says what is
    wrong, and where.
    """

    def __init__(self, columns: Sequence[Column], *, named: bool) -> None:
        self._narrow = narrow(columns)
        self._named = named
        kinds = [column.kind.name for column in columns]
        if named:
            types = [TYPES[kind] for kind in kinds]
            names = [str(column.name) for column in columns]
            self._rows = _decoder("rows", list[members(names, types)])  # type: ignore[misc]
            lists = [list[each] for each in types]  # type: ignore[valid-type]
            self._columns = _decoder("columns", members(names, lists))
        else:
            self._rows = _decoder("rows", list[array_of(kinds, TYPES)])  # type: ignore[misc]

    def read(self, body: bytes) -> Matrix | None:
        """The numbers of a body; None if it is not of the simple form, or not right."""
        try:
            (rows,) = msgspec.structs.astuple(self._rows.decode(body))
        except (msgspec.MsgspecError, ValueError):
            return self._read_columns(body) if self._named else None
        return self._narrowed(from_rows(rows))

    def _read_columns(self, body: bytes) -> Matrix | None:
        try:
            (columns,) = msgspec.structs.astuple(self._columns.decode(body))
        except (msgspec.MsgspecError, ValueError):
            return None
        return self._narrowed(from_columns(msgspec.structs.astuple(columns)))

    def _narrowed(self, matrix: Matrix | None) -> Matrix | None:
        """The same, rounded to float32 where a column is; None if a value is too large for it."""
        if matrix is None:
            return None
        if self._narrow and (np.abs(matrix[:, self._narrow]) > np.finfo(np.float32).max).any():
            return None
        return narrowed(matrix, self._narrow)


def _decoder(name: str, type_: Any) -> msgspec.json.Decoder[Any]:
    return msgspec.json.Decoder(members([name], [type_]))
