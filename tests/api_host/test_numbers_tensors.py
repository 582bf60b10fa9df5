"""The quick reader of v2's numbers against the one that looks at each value."""

import json
from typing import Any

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st
from starlette.datastructures import Headers

from api_host.bounds import Bounds
from api_host.schema import Signature, compile_signature
from api_host.v2.columns import to_table
from api_host.v2.tensors_json import decode

NAMES = ("a", "b", "c")
values = st.none() | st.floats(allow_nan=False, allow_infinity=False) | st.integers(-9, 9)
odd = values | st.booleans() | st.text(max_size=2) | st.lists(values, max_size=2)
parameters = st.none() | st.dictionaries(
    st.sampled_from(["content_type", "binary_data_output", "binary_data_size", "classification"]),
    st.sampled_from(["pd", True, 0]),
    max_size=2,
)
tensors = st.fixed_dictionaries(
    {
        "name": st.sampled_from([*NAMES, "other"]),
        "shape": st.lists(st.integers(-1, 6), max_size=3),
        "datatype": st.sampled_from(["FP64", "FP64", "FP64", "FP32", "INT64", "none"]),
        "data": st.lists(odd, max_size=6),
    },
    optional={"parameters": parameters},
)


def signature_of(kind: str = "double") -> Signature:
    specs = [{"type": kind, "name": name, "required": True} for name in NAMES]
    signature = compile_signature(json.dumps(specs))
    assert signature is not None
    return signature


SIGNATURE = signature_of()


def quickly(document: Any) -> Any:
    assert SIGNATURE.tensors is not None
    return SIGNATURE.tensors.read(json.dumps(document).encode())


def assert_read_alike(document: Any) -> None:
    found = quickly(document)
    if found is not None:
        question = decode(json.dumps(document).encode(), Headers(), bounds=Bounds(rows=100))
        assert question.id == found[1]
        assert (question.outputs, question.binary) == ((), False)
        careful = to_table(question.inputs, SIGNATURE, Bounds())
        pd.testing.assert_frame_equal(SIGNATURE.of_numbers(found[0]).natural(), careful.natural())


@given(st.lists(tensors, max_size=4), st.none() | st.text(max_size=3), parameters)
def test_what_is_read_quickly_is_what_a_careful_reader_reads(
    inputs: list[dict[str, Any]], name: str | None, hints: dict[str, Any] | None
) -> None:
    assert_read_alike({"inputs": inputs, "id": name, "parameters": hints})


@given(rows=st.lists(st.tuples(values, values, values), min_size=1, max_size=4), data=st.data())
def test_tensors_in_any_order_are_read_quickly(
    rows: list[tuple[float | None, ...]], data: st.DataObject
) -> None:
    inputs = []
    for name in data.draw(st.permutations(NAMES)):
        shape = data.draw(st.sampled_from([[len(rows)], [len(rows), 1]]))
        column = [row[NAMES.index(name)] for row in rows]
        inputs.append({"name": name, "shape": shape, "datatype": "FP64", "data": column})
    hint = {"content_type": "pd"}
    one = {"name": "x", "shape": [len(rows), 3], "datatype": "FP64", "data": sum(rows, ())}
    for document in ({"inputs": inputs, "parameters": hint}, {"inputs": [one], "id": "7"}):
        found = quickly(document)
        assert found is not None
        np.testing.assert_array_equal(found[0], np.array(rows, dtype=float))
        assert_read_alike(document)


@pytest.mark.parametrize("kind", ["float", "long", "string"])
def test_other_columns_are_left_to_the_careful_reader(kind: str) -> None:
    assert signature_of(kind).tensors is None
