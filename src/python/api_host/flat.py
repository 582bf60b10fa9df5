"""JSON that needs no look at its nesting and its strings: the types that read it allow no more."""

from typing import Annotated, TypeAlias

import msgspec
from msgspec import Meta

from api_host.bounds import LEAST_CHARACTERS

Text: TypeAlias = Annotated[str, Meta(max_length=LEAST_CHARACTERS)]
Scalar: TypeAlias = bool | int | float | Text | None
Row: TypeAlias = dict[Text, Scalar] | list[Scalar]


class Rows(msgspec.Struct, forbid_unknown_fields=True):
    """Rows, whose values are neither arrays nor objects."""

    rows: list[Row]


class Columns(msgspec.Struct, forbid_unknown_fields=True):
    """Columns of such values."""

    columns: dict[Text, list[Scalar]]


read_row = msgspec.json.Decoder(Row).decode
_read_rows = msgspec.json.Decoder(Rows).decode
_read_columns = msgspec.json.Decoder(Columns).decode


def read(body: bytes) -> Rows | Columns | None:
    """What a body holds; None if it is not of these forms, or not JSON."""
    for reader in (_read_rows, _read_columns):
        try:
            return reader(body)
        except (msgspec.MsgspecError, ValueError):
            pass
    return None
