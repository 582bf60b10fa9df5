"""Columns of numbers: what their values may be in JSON, and what of it becomes a matrix."""

import math
import re
from collections.abc import Mapping, Sequence
from itertools import chain
from typing import Annotated, Any

import msgspec
import numpy as np
from msgspec import Meta

from api_host.kinds import Column
from api_host.table import Matrix

LARGEST_WHOLE = 2**53
"""Up to here each whole number is a float64 too."""

TYPES: Mapping[str, Any] = {
    "integer": Annotated[int, Meta(ge=-(2**31), le=2**31 - 1)],
    "long": Annotated[int, Meta(ge=-LARGEST_WHOLE, le=LARGEST_WHOLE)],
    "float": float | None,
    "double": float | None,
}
"""What a value may be, by the kind of its column."""

_ODD = re.compile(r'[\\"\x00-\x1f]')
"""What msgspec takes in no name of a member."""


def all_numbers(columns: Sequence[Column]) -> bool:
    """Whether rows of these columns are rows of a matrix."""
    return all(column.kind.name in TYPES for column in columns)


def all_doubles(columns: Sequence[Column]) -> bool:
    """Whether any number is right in each of these columns."""
    return all(column.kind.name == "double" for column in columns)


def are_readable(columns: Sequence[Column], *, named: bool) -> bool:
    """Whether all are numbers, and have names that msgspec takes where they have any."""
    return all_numbers(columns) and not (
        named and any(_ODD.search(str(column.name)) for column in columns)
    )


def narrow(columns: Sequence[Column]) -> list[int]:
    """Which columns are float32."""
    return [index for index, column in enumerate(columns) if column.kind.name == "float"]


def members(names: Sequence[str], types: Sequence[Any]) -> type[msgspec.Struct]:
    """A type of objects with exactly these members, whatever their names are."""
    fields = [f"member_{index}" for index in range(len(names))]
    return msgspec.defstruct(
        "Members",
        list(zip(fields, types, strict=True)),
        rename=dict(zip(fields, names, strict=True)),
        forbid_unknown_fields=True,
    )


def from_rows(rows: Sequence[Any]) -> Matrix | None:
    """Rows of the same length, each a sequence or an object of `members`; None for none."""
    if not rows:
        return None
    if isinstance(rows[0], msgspec.Struct):
        rows = list(map(msgspec.structs.astuple, rows))
    return _array(rows)


def from_columns(columns: Sequence[Sequence[Any]]) -> Matrix | None:
    """Columns in their order; None where there are no rows, or not as many in each."""
    if not columns[0] or len(set(map(len, columns))) > 1:
        return None
    return np.ascontiguousarray(_array(columns).T)


def _array(lists: Sequence[Sequence[Any]]) -> Matrix:
    shape = len(lists), len(lists[0])
    try:
        # In half the time of numpy's own way, which looks at each value twice.
        return np.fromiter(chain.from_iterable(lists), np.float64, math.prod(shape)).reshape(shape)
    except TypeError:  # A value is missing.
        return np.array(lists, dtype=np.float64)
