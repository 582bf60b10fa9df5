"""Columns of numbers: what their values may be in JSON, and what of it becomes a matrix."""

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

WIDE = 8
"""Rows with fewer values are tuples, which Python searches for garbage at little cost."""

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


def narrowed(matrix: Matrix, indices: Sequence[int]) -> Matrix:
    """The same matrix, with these of its columns rounded to float32."""
    if indices:
        matrix[:, indices] = matrix[:, indices].astype(np.float32)
    return matrix


def members(names: Sequence[str], types: Sequence[Any]) -> type[msgspec.Struct]:
    """A type of objects with exactly these members, whatever their names are."""
    fields = [f"member_{index}" for index in range(len(names))]
    return msgspec.defstruct(
        "Members",
        list(zip(fields, types, strict=True)),
        rename=dict(zip(fields, names, strict=True)),
        forbid_unknown_fields=True,
        gc=False,
    )


def array_of(kinds: Sequence[str], types: Mapping[str, Any]) -> Any:
    """A type of arrays with exactly these values."""
    each = [types[kind] for kind in kinds]
    if len(kinds) < WIDE or not {"float", "double"}.issuperset(kinds):
        return tuple[*each]  # type: ignore[valid-type]
    fields = [(f"cell_{index}", type_) for index, type_ in enumerate(each)]
    # Unlike tuples, Python does not search them for garbage.
    return msgspec.defstruct("Cells", fields, array_like=True, forbid_unknown_fields=True, gc=False)
