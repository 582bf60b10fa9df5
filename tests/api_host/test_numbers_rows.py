"""The quick reader of numbers against the one that looks at each value."""

import json
from typing import Any

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from api_host.numbers.columns import LARGEST_WHOLE
from api_host.problems import Problem
from api_host.schema import Signature, compile_signature

KINDS = ("integer", "long", "float", "double")
numbers = (
    st.integers(-(2**31), 2**31 - 1)
    | st.sampled_from([2**31, LARGEST_WHOLE, LARGEST_WHOLE + 1, -(2**63), 1e39, 1e308])
    | st.floats(allow_nan=False, allow_infinity=False)
)
values = st.none() | st.booleans() | st.text(max_size=2) | numbers


def signature_of(*names: str | None) -> Signature:
    specs: list[dict[str, Any]] = [{"type": kind, "required": True} for kind in KINDS]
    for spec, name in zip(specs, names, strict=False):
        spec["name"] = name
    signature = compile_signature(json.dumps(specs))
    assert signature is not None
    return signature


NAMED = signature_of("a", "rows", "with space", "ü")
NAMELESS = signature_of()
NAMES = [str(column.name) for column in NAMED.columns]


def quickly(document: Any, signature: Signature) -> Any:
    assert signature.reader is not None
    matrix = signature.reader.read(json.dumps(document).encode())
    return None if matrix is None else signature.of_numbers(matrix).natural()


def carefully(document: Any, signature: Signature) -> Any:
    try:
        if "rows" in document:
            return signature.from_rows(document["rows"]).natural()
        return signature.from_columns(document["columns"]).natural()
    except Problem:
        return None


@given(
    rows=st.lists(st.lists(values, min_size=3, max_size=5), min_size=1, max_size=4),
    named=st.booleans(),
)
def test_what_is_read_quickly_is_what_a_careful_reader_reads(
    rows: list[list[Any]], *, named: bool
) -> None:
    signature = NAMED if named else NAMELESS
    sent = [dict(zip(NAMES, row, strict=False)) for row in rows] if named else rows
    quick = quickly({"rows": sent}, signature)
    if quick is not None:
        pd.testing.assert_frame_equal(quick, carefully({"rows": sent}, signature))


@given(st.lists(st.tuples(*[numbers] * len(KINDS)), max_size=4), st.integers(0, 4))
def test_columns_too(rows: list[tuple[Any, ...]], missing: int) -> None:
    columns = {name: [row[i] for row in rows] for i, name in enumerate(NAMES) if i != missing}
    quick = quickly({"columns": columns}, NAMED)
    if quick is not None:
        pd.testing.assert_frame_equal(quick, carefully({"columns": columns}, NAMED))


@pytest.mark.parametrize("signature", [NAMED, NAMELESS])
def test_plain_numbers_are_read_quickly(signature: Signature) -> None:
    row: list[float | None] = [1, 2, 3, None]
    sent = dict(zip(NAMES, row, strict=True)) if signature.named else row
    frame = quickly({"rows": [sent, sent]}, signature)
    assert [str(dtype) for dtype in frame.dtypes] == ["int32", "int64", "float32", "float64"]
    assert frame.iloc[0].tolist()[:3] == [1, 2, 3]
    assert np.isnan(frame.iloc[1, 3])


def test_a_name_that_json_escapes_is_left_to_the_careful_reader() -> None:
    for name in ('a "quoted" name', "back\\slash", "\n"):
        assert signature_of(name, "b", "c", "d").reader is None
