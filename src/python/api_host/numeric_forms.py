"""Bodies of MLflow's scoring protocol that hold numbers alone, read without pandas."""

import math
from collections.abc import Sequence
from itertools import chain
from typing import Annotated, Any

import msgspec
import numpy as np
from msgspec import UNSET, Meta, UnsetType

from api_host.kinds import Column
from api_host.matrices import LARGEST_WHOLE, all_numbers, is_plain_name, members
from api_host.table import Matrix

_TYPES: dict[str, Any] = {
    "integer": Annotated[int, Meta(ge=-(2**31), le=2**31 - 1)],
    "long": Annotated[int, Meta(ge=-LARGEST_WHOLE, le=LARGEST_WHOLE)],
    # Beyond, pandas rounds a whole number once, and float64 on the way to float32 twice.
    "float": Annotated[float, Meta(ge=-LARGEST_WHOLE, le=LARGEST_WHOLE)] | None,
    "double": float | None,
}


def forms_of(columns: Sequence[Column], *, named: bool, is_tensor: bool) -> "NumericForms | None":
    """The reader for these columns; None if there is none."""
    plain = not named or all(is_plain_name(str(column.name)) for column in columns)
    if not plain or not all_numbers(columns):
        return None
    return NumericForms(columns, named=named, is_tensor=is_tensor)


class NumericForms:
    """Reads each form that the protocol has, for columns that are all numbers.

    It takes what MLflow takes without a change of any value's meaning: no column is missing, none
    is unknown, and whole numbers are written as such. What it does not take may be right all the
    same: it is for pandas, as in MLflow, which also says what is wrong.
    """

    def __init__(self, columns: Sequence[Column], *, named: bool, is_tensor: bool) -> None:
        self._names = [str(column.name) for column in columns]
        self._named = named
        self._is_tensor = is_tensor
        kinds = [column.kind.name for column in columns]
        self._alike = len(set(kinds)) == 1
        self._narrow = [index for index, kind in enumerate(kinds) if kind == "float"]
        self._decoder = _decoder(self._names, kinds, named=named)

    def read(self, body: bytes) -> Matrix | None:
        """The numbers of a body, in the order of the signature; None if pandas is to read it."""
        try:
            document = self._decoder.decode(body)
        except (msgspec.MsgspecError, ValueError):
            return None
        forms = [form for form in msgspec.structs.astuple(document) if form is not UNSET]
        if len(forms) != 1:
            return None
        matrix = self._matrix(forms[0])
        if matrix is not None:
            for index in self._narrow:
                matrix[:, index] = matrix[:, index].astype(np.float32)
        return matrix

    def _matrix(self, form: Any) -> Matrix | None:
        if isinstance(form, _Split):
            return self._from_split(form)
        if isinstance(form, list):
            return _from_rows(form)
        return _from_columns(form)

    def _from_split(self, split: "_Split") -> Matrix | None:
        if split.index is not None and len(split.index) != len(split.data):
            return None
        matrix = _from_rows(split.data)
        if matrix is None or split.columns == self._names:
            return matrix
        if not self._named:
            return matrix if split.columns is None or self._drops(split.columns) else None
        # The types were checked in the order of the signature.
        if not self._alike or split.columns is None or sorted(split.columns) != sorted(self._names):
            return None
        return matrix[:, [split.columns.index(name) for name in self._names]]

    def _drops(self, names: Sequence[str]) -> bool:
        """Whether these names change nothing: none is given to a model that takes an array."""
        return self._is_tensor and len(set(names)) == len(self._names)


class _Split(msgspec.Struct, forbid_unknown_fields=True):
    data: list[Any]
    columns: list[str] | None = None
    index: list[int] | None = None


def _decoder(names: Sequence[str], kinds: Sequence[str], *, named: bool) -> Any:
    types = [_TYPES[kind] for kind in kinds]
    row = tuple[*types]  # type: ignore[valid-type]
    split = msgspec.defstruct("Split", [("data", list[row])], bases=(_Split,))
    forms: dict[str, Any] = {"dataframe_split": split}
    if named:
        record = members(names, types)
        columns = members(names, [list[each] for each in types])  # type: ignore[valid-type]
        forms["dataframe_records"] = list[record]  # type: ignore[valid-type]
        forms["instances"] = columns | list[record]  # type: ignore[valid-type]
        # Of values one by one, pandas makes columns of 64 bits, which are too wide for others.
        wide = {"double", "long"}.issuperset(kinds)
        forms["inputs"] = forms["instances"] if wide else columns
    elif len(set(kinds)) == 1:
        # One array, in the type of the first column.
        forms |= dict.fromkeys(("inputs", "instances"), list[row])
    fields = [(name, type_ | UnsetType, UNSET) for name, type_ in forms.items()]
    return msgspec.json.Decoder(msgspec.defstruct("Document", fields, forbid_unknown_fields=True))


def _from_rows(rows: Sequence[Any]) -> Matrix | None:
    if not rows:
        return None
    if isinstance(rows[0], msgspec.Struct):
        rows = list(map(msgspec.structs.astuple, rows))
    return _array(rows)


def _from_columns(columns: msgspec.Struct) -> Matrix | None:
    lists = msgspec.structs.astuple(columns)
    if not lists[0] or len(set(map(len, lists))) > 1:
        return None
    return np.ascontiguousarray(_array(lists).T)


def _array(lists: Sequence[Sequence[Any]]) -> Matrix:
    """Lists of the same length as an array of two dimensions."""
    shape = len(lists), len(lists[0])
    try:
        # In half the time of numpy's own way, which looks at each value twice.
        return np.fromiter(chain.from_iterable(lists), np.float64, math.prod(shape)).reshape(shape)
    except TypeError:  # A value is missing.
        return np.array(lists, dtype=np.float64)
