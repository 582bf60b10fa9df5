"""Bodies of `/v1` predictions: rows or columns in JSON, or CSV with a header."""

import csv
import io
from collections.abc import Callable, Sequence
from itertools import chain
from typing import Any

import numpy as np
import pandas as pd

from api_host import flat
from api_host.areas import check_area
from api_host.bounds import Bounds, widest
from api_host.documents import decode_json
from api_host.problems import (
    INVALID_BODY,
    INVALID_INPUT,
    UNSUPPORTED_MEDIA_TYPE,
    Mistake,
    Problem,
)
from api_host.schema import Signature
from api_host.table import Table

JSON = "application/json"
CSV = "text/csv"


def decode(body: bytes, content_type: str, signature: Signature | None, *, bounds: Bounds) -> Table:
    """What a model predicts from, read from a body and checked.

    Raises `Problem`.
    """
    match content_type.partition(";")[0].strip().lower():
        case "application/json":
            if (table := _simple(body, signature, bounds)) is not None:
                return table
            document = _document(body, bounds)
        case "text/csv":
            document = {"rows": _csv_rows(body, signature, bounds)}
        case other:
            raise Problem(
                UNSUPPORTED_MEDIA_TYPE,
                f"the content type is {other or 'not given'}; it must be {JSON} or {CSV}",
            )
    match document:
        case {"rows": list(rows), **others} if not others:
            _check_count(len(rows), bounds)
            _check_width(widest(rows), signature, bounds)
            return signature.from_rows(rows) if signature else unchecked(rows)
        case {"columns": dict(columns), **others} if not others:
            lengths = (len(values) for values in columns.values() if isinstance(values, list))
            _check_count(max(lengths, default=0), bounds)
            _check_width(len(columns), signature, bounds)
            return signature.from_columns(columns) if signature else unchecked(columns)
    detail = 'must be {"rows": [...]}, an array of rows, or {"columns": {...}}, an object of arrays'
    raise Problem(INVALID_INPUT, f"the body {detail}", mistakes=[Mistake("", detail)])


def _document(body: bytes, bounds: Bounds) -> Any:
    match flat.read(body):
        case flat.Rows(rows=rows):
            return {"rows": rows}
        case flat.Columns(columns=columns):
            return {"columns": columns}
    return decode_json(body, bounds)


def _simple(body: bytes, signature: Signature | None, bounds: Bounds) -> Table | None:
    if signature is None or signature.reader is None:
        return None
    matrix = signature.reader.read(body)
    if matrix is None:
        return None
    _check_count(len(matrix), bounds)
    return signature.of_numbers(matrix)


def _check_width(width: int, signature: Signature | None, bounds: Bounds) -> None:
    own = 0 if signature is None else len(signature.columns)
    bounds.fitting(own).check_columns(width)


def _check_count(count: int, bounds: Bounds) -> None:
    bounds.check_rows(count)
    if count == 0:
        detail = "must have at least one row"
        raise Problem(INVALID_INPUT, f"the body {detail}", mistakes=[Mistake("", detail)])


def unchecked(values: Any) -> Table:
    """Rows or columns for a model without a signature, which alone knows what is right."""
    try:
        check_area(values, texts=True)
        if isinstance(values, list) and isinstance(values[0], list):
            return Table(np.array(values))
        return Table(pd.DataFrame(values))
    except (ValueError, TypeError, RecursionError) as error:
        detail = f"is not a table: {error}"
        raise Problem(INVALID_INPUT, f"the body {detail}", mistakes=[Mistake("", detail)]) from None


def _csv_rows(body: bytes, signature: Signature | None, bounds: Bounds) -> list[dict[str, Any]]:
    try:
        lines = list(csv.reader(io.StringIO(body.decode("utf-8-sig")), strict=True))
    except (UnicodeDecodeError, csv.Error) as error:
        raise Problem(INVALID_BODY, f"the body is not CSV in UTF-8: {error}") from None
    lines = [line for line in lines if line]
    if not lines:
        raise Problem(INVALID_BODY, "the body is empty: its first line must name the columns")
    header = lines[0]
    _check_width(len(header), signature, bounds)
    if len(body) > bounds.characters:
        bounds.check_strings(chain.from_iterable(lines))
    if signature is not None and not signature.named:
        raise Problem(INVALID_INPUT, "the columns of this model have no names: send JSON")
    kinds = {} if signature is None else {c.name: c.kind.name for c in signature.columns}
    readers = [_READERS.get(kinds.get(name, "double"), _as_it_is) for name in header]
    return [_csv_row(number, line, header, readers) for number, line in enumerate(lines[1:], 2)]


def _csv_row(
    number: int, line: Sequence[str], header: Sequence[str], readers: Sequence[Callable[[str], Any]]
) -> dict[str, Any]:
    if len(line) != len(header):
        raise Problem(
            INVALID_BODY,
            f"record {number} of the CSV has {len(line)} fields, and the header has {len(header)}",
        )
    return {
        name: read(text) if text else None
        for name, read, text in zip(header, readers, line, strict=True)
    }


def _as_it_is(text: str) -> str:
    return text


def _number(text: str) -> float | str:
    try:
        return float(text)
    except ValueError:
        return text  # The checker says that it is no number, and where.


def _whole_number(text: str) -> int | str:
    try:
        return int(text)
    except ValueError:
        return text


def _truth(text: str) -> bool | str:
    return {"true": True, "false": False}.get(text.lower(), text)


_READERS: dict[str, Callable[[str], Any]] = {
    "boolean": _truth,
    "integer": _whole_number,
    "long": _whole_number,
    "float": _number,
    "double": _number,
}
