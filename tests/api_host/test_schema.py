"""The checker of a signature, by itself and with the codecs before it."""

import csv
import io
import json
from collections.abc import Mapping
from typing import Any

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from api_host.bounds import Bounds
from api_host.codecs import decode
from api_host.errors import ModelRefusedError
from api_host.problems import Problem
from api_host.schema import Signature, compile_signature
from api_host.table import Natural

COLUMNS: dict[str, st.SearchStrategy[Any]] = {
    "boolean": st.booleans(),
    "integer": st.integers(-(2**31), 2**31 - 1),
    "long": st.integers(-(2**63), 2**63 - 1),
    "float": st.floats(width=32, allow_nan=False, allow_infinity=False),
    "double": st.floats(allow_nan=False, allow_infinity=False) | st.integers(-(2**53), 2**53),
    "string": st.text(st.characters(codec="utf-8", exclude_categories=["C"]), min_size=1),
}
rows_of_all_kinds = st.lists(st.fixed_dictionaries(COLUMNS), min_size=1, max_size=5)


def signature_of(**types: str) -> Signature:
    specs = [{"type": type_, "name": name, "required": True} for name, type_ in types.items()]
    signature = compile_signature(json.dumps(specs))
    assert signature is not None
    return signature


ALL = signature_of(**{name: name for name in COLUMNS})
IRIS = signature_of(petal_length="double", petal_width="double")


def read(document: Any, signature: Signature | None = IRIS, *, most_rows: int = 10) -> Natural:
    body = json.dumps(document).encode()
    return decode(body, "application/json", signature, bounds=Bounds(rows=most_rows)).natural()


def mistakes_of(document: Any, signature: Signature = IRIS) -> Mapping[str, str]:
    with pytest.raises(Problem) as problem:
        read(document, signature)
    assert problem.value.kind.status == 422
    return {mistake.pointer: mistake.detail for mistake in problem.value.mistakes}


@given(rows_of_all_kinds)
def test_what_was_sent_is_what_the_model_gets(rows: list[dict[str, Any]]) -> None:
    frame = read({"rows": rows}, ALL)
    assert isinstance(frame, pd.DataFrame)
    assert list(frame.columns) == list(COLUMNS)
    for name in COLUMNS:
        assert frame[name].tolist() == [row[name] for row in rows]
    assert [str(frame[name].dtype) for name in ("integer", "float")] == ["int32", "float32"]


@given(rows_of_all_kinds)
def test_rows_columns_and_csv_are_the_same(rows: list[dict[str, Any]]) -> None:
    expected = read({"rows": rows}, ALL)
    columns = {name: [row[name] for row in rows] for name in COLUMNS}
    pd.testing.assert_frame_equal(read({"columns": columns}, ALL), expected)
    text = io.StringIO()
    writer = csv.DictWriter(text, list(COLUMNS))
    writer.writeheader()
    writer.writerows(rows)
    body = text.getvalue().encode()
    pd.testing.assert_frame_equal(
        decode(body, "text/csv", ALL, bounds=Bounds(rows=10)).natural(), expected
    )


def test_everything_that_is_wrong_is_named_at_once() -> None:
    rows = [
        {"petal_length": 1.4, "petal_width": "0.2"},
        {"petal_length": True, "petal_width": {}},
        {"petal_length": 1, "petal_width": None},
    ]
    found = mistakes_of({"rows": rows})
    assert found.keys() == {"/rows/0/petal_width", "/rows/1/petal_length", "/rows/1/petal_width"}
    assert found["/rows/0/petal_width"] == 'must be a number, and is the string "0.2"'
    found = mistakes_of({"rows": [{"petal_length": 1.4, "petal_with": 0.2}, [1, 2], 3]})
    assert found == {
        "/rows/0/petal_width": "is missing",
        "/rows/0/petal_with": "is not a column of this model",
        "/rows/1": "must be an object, column names to values, and is an array",
        "/rows/2": "must be an object, column names to values, and is 3",
    }


def test_columns_are_checked_too() -> None:
    assert mistakes_of({"columns": {"petal_length": [1, 2]}}).keys() == {"/columns/petal_width"}
    assert mistakes_of({"columns": {"petal_length": [1], "petal_width": 2}}).keys() == {
        "/columns/petal_width"
    }
    assert mistakes_of({"columns": {"petal_length": [1, 2], "petal_width": [1]}}).keys() == {
        "/columns"
    }
    assert mistakes_of({"columns": {"petal_length": [1, "x"], "petal_width": [1, 2]}}).keys() == {
        "/columns/petal_length/1"
    }


@pytest.mark.parametrize(
    ("type_", "good", "bad"),
    [
        ("boolean", [True, False], [0, "true", None]),
        ("integer", [1, -5, 2.0], [2**31, 1.5, True, None, "1"]),
        ("long", [2**62], [2**63, 1e300]),
        ("float", [1, 1.5, None], [1e300, True, "1"]),
        ("double", [1, 1e300, None], [10**400, [], "x"]),
        ("string", ["x", "", None], [1, True, {}]),
        ("binary", ["YQ=="], ["?", 1, None]),
        ("datetime", ["2020-01-01", "2020-01-01T10:00:00", None], ["x", 5, True]),
    ],
)
def test_values_of_each_type(type_: str, good: list[Any], bad: list[Any]) -> None:
    signature = signature_of(a=type_)
    for value in good:
        assert len(read({"rows": [{"a": value}]}, signature)) == 1
    for value in bad:
        assert mistakes_of({"rows": [{"a": value}]}, signature).keys() == {"/rows/0/a"}


@pytest.mark.parametrize("document", [[], 5, None, {}, {"rows": []}, {"rows": {}}, {"columns": []}])
def test_other_documents_are_refused(document: Any) -> None:
    mistakes_of(document)


def test_too_many_rows_are_refused() -> None:
    with pytest.raises(Problem) as problem:
        read({"rows": [{}] * 11})
    assert problem.value.kind.status == 413
    with pytest.raises(Problem) as problem:
        read({"columns": {"petal_length": [1] * 11}})
    assert problem.value.kind.status == 413


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
)


@given(st.sampled_from(["rows", "columns"]), json_values, st.sampled_from([ALL, IRIS, None]))
def test_any_json_is_read_or_refused(form: str, value: Any, signature: Signature | None) -> None:
    try:
        table = read({form: value}, signature)
    except Problem as problem:
        assert problem.kind.status in (400, 413, 422)  # noqa: PT017
    else:
        assert len(table) > 0


@given(st.binary(), st.sampled_from(["application/json", "text/csv", "text/csv; charset=utf-8"]))
def test_garbage_is_refused(body: bytes, content_type: str) -> None:
    try:
        decode(body, content_type, IRIS, bounds=Bounds(rows=10))
    except Problem as problem:
        assert problem.kind.status in (400, 413, 422)  # noqa: PT017


def test_deep_nesting_is_refused() -> None:
    with pytest.raises(Problem) as problem:
        decode(b'{"rows":' + b"[" * 100_000, "application/json", IRIS, bounds=Bounds(rows=10))
    assert problem.value.kind.status == 400


def test_arrays_have_no_names() -> None:
    tensor = {"type": "tensor", "tensor-spec": {"dtype": "float64", "shape": [-1, 2]}}
    signature = compile_signature(json.dumps([tensor]))
    table = read({"rows": [[1, 2], [3, 4]]}, signature)
    assert isinstance(table, np.ndarray)
    assert table.tolist() == [[1.0, 2.0], [3.0, 4.0]]
    assert signature is not None
    assert mistakes_of({"rows": [[1], {"a": 1}]}, signature).keys() == {"/rows/0", "/rows/1"}
    assert mistakes_of({"columns": {"a": [1]}}, signature).keys() == {"/columns"}
    assert mistakes_of({"rows": [[1, "x"]]}, signature).keys() == {"/rows/0/1"}


@pytest.mark.parametrize(
    "spec",
    [
        {"type": "array", "items": {"type": "double"}, "name": "a"},
        {"type": "tensor", "tensor-spec": {"dtype": "float64", "shape": [-1, 28, 28]}},
        {"type": "tensor", "tensor-spec": {"dtype": "float64", "shape": [-1, -1]}},
        {"type": "tensor", "tensor-spec": {"dtype": "complex128", "shape": [-1, 2]}},
    ],
)
def test_signatures_that_are_no_table_are_refused(spec: dict[str, Any]) -> None:
    with pytest.raises(ModelRefusedError):
        compile_signature(json.dumps([spec]))
