"""Bodies of MLflow's scoring protocol that hold numbers alone."""

from collections.abc import Mapping, Sequence
from typing import Annotated, Any

import msgspec
from msgspec import UNSET, Meta, UnsetType

from api_host.kinds import Column
from api_host.numbers.columns import (
    LARGEST_WHOLE,
    TYPES,
    are_readable,
    array_of,
    members,
    narrow,
    narrowed,
)
from api_host.numbers.matrices import from_columns, from_rows
from api_host.table import Matrix

_TYPES: Mapping[str, Any] = {
    **TYPES,
    # Beyond, pandas rounds a whole number once, and float64 on the way to float32 twice.
    "float": Annotated[float, Meta(ge=-LARGEST_WHOLE, le=LARGEST_WHOLE)] | None,
}


def forms_of(columns: Sequence[Column], *, named: bool, is_tensor: bool) -> "NumericForms | None":
    """The reader for these columns; None if there is none."""
    if not are_readable(columns, named=named):
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
        self._narrow = narrow(columns)
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
        return None if matrix is None else narrowed(matrix, self._narrow)

    def _matrix(self, form: Any) -> Matrix | None:
        if isinstance(form, _Split):
            return self._from_split(form)
        if isinstance(form, list):
            return from_rows(form)
        return from_columns(msgspec.structs.astuple(form))

    def _from_split(self, split: "_Split") -> Matrix | None:
        if split.index is not None and len(split.index) != len(split.data):
            return None
        matrix = from_rows(split.data)
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
    rows: Any = list[array_of(kinds, _TYPES)]  # type: ignore[misc]
    split = msgspec.defstruct("Split", [("data", rows)], bases=(_Split,))
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
        forms |= dict.fromkeys(("inputs", "instances"), rows)
    fields = [(name, type_ | UnsetType, UNSET) for name, type_ in forms.items()]
    return msgspec.json.Decoder(msgspec.defstruct("Document", fields, forbid_unknown_fields=True))
