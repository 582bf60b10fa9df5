"""`/invocations` against MLflow itself: the same tables, or a refusal where MLflow refuses."""

import json
from io import StringIO
from typing import Any, cast

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from mlflow.models.utils import _enforce_schema
from mlflow.pyfunc import scoring_server
from mlflow.types import ColSpec, Schema, TensorSpec
from mlflow.version import VERSION

from api_host.bounds import Bounds
from api_host.health import SCORING_PROTOCOL
from api_host.invocations import decode, encode
from api_host.parameters import UNKNOWN
from api_host.problems import Problem
from api_host.schema import compile_signature

MIXED = [
    ColSpec("double", "a"),
    ColSpec("string", "b"),
    ColSpec("long", "c", required=False),
    ColSpec("boolean", "d", required=False),
    ColSpec("float", "e", required=False),
    ColSpec("integer", "f", required=False),
]
SCHEMAS = {
    "mixed": Schema([*MIXED]),
    "doubles": Schema([ColSpec("double", name) for name in "abc"]),
    "one": Schema([ColSpec("double", "a")]),
    "text": Schema([ColSpec("string", "a")]),
    "unnamed": Schema([ColSpec("double"), ColSpec("double")]),
    "moment": Schema([ColSpec("datetime", "a"), ColSpec("binary", "b", required=False)]),
    "array": Schema([TensorSpec(np.dtype("float64"), (-1, 3))]),
    "column": Schema([TensorSpec(np.dtype("int64"), (-1, 1))]),
}

scalars = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(-5, 5),
    st.integers(-(2**70), 2**70),
    st.floats(width=32),
    st.floats(),
    st.sampled_from(["x", "", "1", "1.5", "true", "2020-01-01", "2020-01-01T00:00:00Z", "YQ=="]),
)
numbers = st.one_of(st.integers(-5, 5), st.floats(-5, 5))
names = st.sampled_from([*"abcdef", "other"])


def rows_of(values: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
    objects = st.one_of(
        st.fixed_dictionaries(dict.fromkeys("ab", values), optional=dict.fromkeys("cdef", values)),
        st.dictionaries(names, values, max_size=4),
    )
    arrays = st.integers(1, 4).flatmap(
        lambda width: st.lists(values, min_size=width, max_size=width)
    )
    return st.one_of(
        st.lists(objects, max_size=3),
        st.lists(st.fixed_dictionaries(dict.fromkeys("abc", values)), min_size=1, max_size=3),
        st.integers(1, 4).flatmap(
            lambda width: st.lists(
                st.lists(values, min_size=width, max_size=width), min_size=1, max_size=3
            )
        ),
        st.lists(arrays, max_size=3),
        st.lists(values, max_size=3),
        st.dictionaries(names, st.lists(values, min_size=2, max_size=2), max_size=4),
        st.fixed_dictionaries(dict.fromkeys("abc", st.lists(values, min_size=2, max_size=2))),
        st.dictionaries(names, values, max_size=4),
        values,
    )


def splits_of(values: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
    def split(columns: list[str]) -> st.SearchStrategy[Any]:
        row = st.lists(values, min_size=len(columns), max_size=len(columns))
        return st.fixed_dictionaries(
            {"columns": st.just(columns), "data": st.lists(row, max_size=3)},
            optional={"index": st.just([5, 6, 7])},
        )

    return st.one_of(
        st.just(list("abc")).flatmap(split),
        st.lists(names, min_size=1, max_size=6, unique=True).flatmap(split),
        st.fixed_dictionaries({"data": st.lists(st.lists(values, max_size=3), max_size=3)}),
    )


tables = st.one_of(rows_of(numbers), rows_of(scalars))
bodies = st.one_of(
    st.fixed_dictionaries({"dataframe_records": tables}),
    st.fixed_dictionaries({"dataframe_split": st.one_of(splits_of(numbers), splits_of(scalars))}),
    st.fixed_dictionaries({"inputs": tables}),
    st.fixed_dictionaries({"instances": tables}),
    st.fixed_dictionaries({"inputs": tables, "params": st.just({"a": 1})}),
    st.dictionaries(st.sampled_from(["inputs", "instances", "other"]), tables),
)


def by_mlflow(body: str, schema: Schema | None, media_type: str) -> Any:
    """What MLflow would ask the model with; None if it would refuse."""
    try:
        if media_type == "text/csv":
            found = scoring_server.parse_csv_input(StringIO(body), cast("Schema", schema))
        else:
            parse = scoring_server._parse_json_data  # noqa: SLF001 - there is no public one
            found = parse(body, None, schema).data  # type: ignore[no-untyped-call]
        return found if schema is None else _enforce_schema(found, schema)
    except Exception:  # noqa: BLE001 - whatever it raises is a refusal
        return None


def by_us(body: str, schema: Schema | None, media_type: str) -> Any:
    signature = compile_signature(None if schema is None else schema.to_json())
    try:
        return decode(body.encode(), media_type, signature, UNKNOWN, bounds=Bounds()).natural()
    except Problem:
        return None


def assert_same(ours: Any, theirs: Any) -> None:
    if isinstance(theirs, pd.DataFrame):
        # The index is the caller's; no model sees it.
        pd.testing.assert_frame_equal(ours.reset_index(drop=True), theirs.reset_index(drop=True))
    else:
        assert repr(ours) == repr(theirs)


@pytest.mark.parametrize("name", SCHEMAS)
@given(body=bodies)
@settings(max_examples=100, deadline=None)
@pytest.mark.filterwarnings("ignore")
def test_reads_json_as_mlflow_does(name: str, body: Any) -> None:
    text = json.dumps(body)
    assert_same(
        by_us(text, SCHEMAS[name], "application/json"),
        by_mlflow(text, SCHEMAS[name], "application/json"),
    )


cells = st.sampled_from(["1", "1.5", "-3", "", "x", "true", "nan", '"a,b"', "2020-01-01", "1e400"])
csv_lines = st.integers(1, 4).flatmap(
    lambda width: st.tuples(
        st.lists(names, min_size=width, max_size=width),
        st.lists(st.lists(cells, min_size=width, max_size=width), max_size=3),
    )
)
csv_bodies = st.one_of(
    csv_lines.map(lambda parts: "\n".join(",".join(line) for line in [parts[0], *parts[1]])),
    st.text(max_size=20),
)


@pytest.mark.parametrize("name", [*SCHEMAS, None])
@given(body=csv_bodies)
@settings(max_examples=100, deadline=None)
@pytest.mark.filterwarnings("ignore")
def test_reads_csv_as_mlflow_does(name: str | None, body: str) -> None:
    schema = SCHEMAS[name] if name else None
    assert_same(by_us(body, schema, "text/csv"), by_mlflow(body, schema, "text/csv"))


@given(body=bodies)
@settings(max_examples=100, deadline=None)
@pytest.mark.filterwarnings("ignore")
def test_reads_json_as_mlflow_does_without_a_signature(body: Any) -> None:
    text = json.dumps(body)
    theirs = by_mlflow(text, None, "application/json")
    is_one_value = isinstance(theirs, np.ndarray | np.generic) and theirs.ndim == 0
    assert_same(by_us(text, None, "application/json"), None if is_one_value else theirs)


def test_speaks_the_protocol_of_the_mlflow_that_it_is_compared_with() -> None:
    assert SCORING_PROTOCOL == VERSION


@pytest.mark.parametrize(
    "content_type",
    ["", "text/plain", "application/json; charset=latin-1", "application/json; boundary=x"],
)
def test_refuses_other_content_types(content_type: str) -> None:
    with pytest.raises(Problem) as refusal:
        decode(b"{}", content_type, None, UNKNOWN, bounds=Bounds())
    assert refusal.value.kind.status == 415


@given(body=st.binary(max_size=50))
def test_garbage_is_refused(body: bytes) -> None:
    with pytest.raises(Problem) as refusal:
        decode(body, "application/json", None, UNKNOWN, bounds=Bounds())
    assert refusal.value.kind.status == 400
    assert refusal.value.document().error_code == "BAD_REQUEST"


def test_deep_nesting_is_refused() -> None:
    with pytest.raises(Problem):
        decode(b'{"inputs":' + b"[" * 100_000, "application/json", None, UNKNOWN, bounds=Bounds())


def test_numbers_are_written_as_mlflow_writes_them() -> None:
    assert json.loads(encode(np.array(["é", "\ud800"]))) == {"predictions": ["é", "\ud800"]}
    assert json.loads(encode(np.array([["a"], ["b"]]))) == {"predictions": [["a"], ["b"]]}
    assert encode(np.array([1.5, np.nan])) == b'{"predictions": [1.5, NaN]}'
    assert encode([np.array([1, 2])]) == b'{"predictions": [[1, 2]]}'
