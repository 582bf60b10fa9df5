"""Bodies that hold numbers alone become a matrix, without pandas and without a change of value."""

import json
from typing import Any

import numpy as np
import pytest

from api_host.schema import compile_signature

ROWS: list[list[float | None]] = [[1.5, 2, -3], [4, None, 0.1]]
NAMES = ["a", "b", "c"]
RECORDS = [dict(zip(NAMES, row, strict=True)) for row in ROWS]
COLUMNS = {name: [row[index] for row in ROWS] for index, name in enumerate(NAMES)}


def signature_of(*kinds: str, named: bool = True) -> str:
    return json.dumps(
        [
            {"type": kind, "name": name} if named else {"type": kind}
            for kind, name in zip(kinds, NAMES, strict=False)
        ]
    )


DOUBLES = signature_of("double", "double", "double")
UNNAMED = signature_of("double", "double", "double", named=False)
ARRAY = json.dumps([{"type": "tensor", "tensor-spec": {"dtype": "float64", "shape": [-1, 3]}}])


def read(inputs: str, body: Any) -> Any:
    signature = compile_signature(inputs)
    assert signature
    assert signature.forms
    return signature.forms.read(body if isinstance(body, bytes) else json.dumps(body).encode())


@pytest.mark.parametrize(
    ("inputs", "body"),
    [
        (DOUBLES, {"dataframe_split": {"columns": NAMES, "data": ROWS}}),
        (DOUBLES, {"dataframe_split": {"index": [7, 8], "columns": NAMES, "data": ROWS}}),
        (DOUBLES, {"dataframe_records": RECORDS}),
        (DOUBLES, {"inputs": COLUMNS}),
        (DOUBLES, {"inputs": RECORDS}),
        (DOUBLES, {"instances": COLUMNS}),
        (DOUBLES, {"instances": RECORDS}),
        (UNNAMED, {"dataframe_split": {"data": ROWS}}),
        (UNNAMED, {"inputs": ROWS}),
        (ARRAY, {"dataframe_split": {"columns": NAMES, "data": ROWS}}),
        (ARRAY, {"inputs": ROWS}),
        (ARRAY, {"instances": ROWS}),
    ],
)
def test_every_form_is_read(inputs: str, body: Any) -> None:
    matrix = read(inputs, body)
    np.testing.assert_array_equal(matrix, [[1.5, 2, -3], [4, np.nan, 0.1]])
    assert matrix.dtype == np.float64


def test_columns_may_come_in_any_order() -> None:
    matrix = read(DOUBLES, {"dataframe_split": {"columns": ["c", "a", "b"], "data": [[3, 1, 2]]}})
    np.testing.assert_array_equal(matrix, [[1, 2, 3]])


def test_a_number_of_32_bits_is_the_one_that_32_bits_hold() -> None:
    matrix = read(signature_of("float", "double"), {"dataframe_records": [{"a": 0.1, "b": 0.1}]})
    assert matrix.tolist() == [[float(np.float32(0.1)), 0.1]]


@pytest.mark.parametrize(
    "body",
    [
        {"inputs": {"a": ["1"], "b": [2], "c": [3]}},
        {"inputs": {"a": [True], "b": [2], "c": [3]}},
        {"inputs": {"a": [1], "b": [2]}},
        {"inputs": {"a": [1], "b": [2], "c": [3], "d": [4]}},
        {"inputs": {"a": [1], "b": [2], "c": [3, 4]}},
        {"inputs": {"a": [], "b": [], "c": []}},
        {"inputs": {"a": 1, "b": 2, "c": 3}},
        {"inputs": COLUMNS, "params": {"d": 4}},
        {"inputs": COLUMNS, "instances": COLUMNS},
        {"dataframe_split": {"columns": ["a", "a", "b"], "data": ROWS}},
        {"dataframe_split": {"columns": NAMES, "data": [[1, 2, 3], [4, 5]]}},
        {"dataframe_split": {"columns": NAMES, "index": [1], "data": ROWS}},
        {"dataframe_split": {"data": ROWS}},
        {"dataframe_records": []},
        {},
        [],
        b'{"inputs": {"a": [NaN], "b": [2], "c": [3]}}',
        b'{"inputs": {"a": [1e400], "b": [2], "c": [3]}}',
        b'{"inputs": {"a": [1], "b": [2], "c": [3]}',
        b"\xff",
        b"[" * 100_000,
    ],
)
def test_what_is_not_simple_is_for_pandas(body: Any) -> None:
    assert read(DOUBLES, body) is None


@pytest.mark.parametrize("kind", ["integer", "long"])
@pytest.mark.parametrize("value", [1.5, 1.0, None, 2**53 + 1])
def test_a_whole_number_is_taken_as_one_only(kind: str, value: Any) -> None:
    assert read(signature_of(kind), {"dataframe_records": [{"a": 5}]}).tolist() == [[5]]
    assert read(signature_of(kind), {"dataframe_records": [{"a": value}]}) is None


def test_records_of_narrow_numbers_are_refused_as_inputs_as_mlflow_does() -> None:
    records = [{"a": 1.5, "b": 2.5}]
    assert read(signature_of("float", "float"), {"inputs": records}) is None
    assert read(signature_of("float", "float"), {"instances": records}).tolist() == [[1.5, 2.5]]


@pytest.mark.parametrize("name", ['a"b', "a\\b", "a\nb"])
def test_a_name_that_no_fast_reader_takes_is_left_to_pandas(name: str) -> None:
    signature = compile_signature(json.dumps([{"type": "double", "name": name}]))
    assert signature
    assert signature.forms is None


def test_text_is_left_to_pandas() -> None:
    signature = compile_signature(signature_of("double", "string"))
    assert signature
    assert signature.forms is None
