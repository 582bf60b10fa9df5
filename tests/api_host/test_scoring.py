"""`/invocations` and its neighbours answer as MLflow's own scoring server does."""

import json
from collections.abc import Iterator, Mapping
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from mlflow.models import ModelSignature
from mlflow.types import ColSpec, DataType, ParamSchema, ParamSpec, Schema, TensorSpec
from mlflow.types.schema import Object, Property
from sklearn.linear_model import LinearRegression

from api_host.invocations import LANGUAGE_KEYS
from tests.api_host.conftest import save
from tests.api_host.payloads import Values, csv_texts, numbers, scalars, tables, texts
from tests.api_host.scoring_server import MOST_ROWS, Peers, serving
from tests.docs.pages import documented_differences

# MLflow and pandas warn of what they make of the bodies, which is the same on both sides.
pytestmark = pytest.mark.filterwarnings("ignore")

ABC = dict.fromkeys("abc", numbers)
MODELS: Mapping[str, Mapping[str, Values]] = {
    "doubles": ABC,
    "kinds": {"a": numbers, "b": numbers, "c": st.integers(-5, 5), "d": numbers},
    "one": {"a": numbers},
    "optional": ABC,
    "unnamed": ABC,
    "array": ABC,
    "small array": ABC,
    "whole array": ABC,
    "column": {"a": numbers},
    "no signature": ABC,
    "mixed": {
        "city": st.sampled_from(["Bern", "Chur", "Paris", None]),
        "rooms": st.integers(0, 5),
        "floor": st.integers(0, 5),
        "new": st.booleans(),
        "area": numbers,
        "tax": numbers,
    },
    "forest": dict.fromkeys(
        ("sepal_length", "sepal_width", "petal_length", "petal_width"), numbers
    ),
}
"""The columns of each model, and values that they may have."""

PARAMS = ParamSchema(
    [
        ParamSpec("truth", "boolean", default=True),
        ParamSpec("count", "integer", default=1),
        ParamSpec("size", "long", default=1),
        ParamSpec("share", "float", default=0.5),
        ParamSpec("weight", "double", default=0.5),
        ParamSpec("name", "string", default="x"),
        ParamSpec("since", "datetime", default=np.datetime64("2020-01-01")),
        ParamSpec("several", "double", default=[0.5], shape=(-1,)),
        ParamSpec("options", Object([Property("depth", DataType.long)]), default={"depth": 1}),
    ]
)


def _columns(*kinds: str) -> Schema:
    return Schema([ColSpec(kind, name) for kind, name in zip(kinds, "abcd", strict=False)])


def _array(dtype: str, width: int = 3) -> Schema:
    return Schema([TensorSpec(np.dtype(dtype), (-1, width))])


SIGNATURES: Mapping[str, Any] = {
    "doubles": ModelSignature(_columns("double", "double", "double"), params=PARAMS),
    "kinds": ModelSignature(_columns("double", "float", "integer", "long")),
    "one": ModelSignature(_columns("double")),
    "optional": ModelSignature(
        Schema([ColSpec("float", "a"), ColSpec("float", "b"), ColSpec("float", "c", False)])
    ),
    "unnamed": ModelSignature(Schema([ColSpec("double")] * 3)),
    "array": ModelSignature(_array("float64")),
    "small array": ModelSignature(_array("float32")),
    "whole array": ModelSignature(_array("int64")),
    "column": ModelSignature(_array("float64", 1)),
    "no signature": False,
}
ARRAYS = ("unnamed", "array", "small array", "whole array", "column")
"""Models that were fitted on columns without names."""

BODY = json.dumps({"inputs": {"a": [1.5], "b": [2], "c": [3]}}).encode()


@dataclass(frozen=True)
class Difference:
    """A request that is answered differently on purpose; docs/api.md says why.

    `theirs`, `ours`: the status of the answers.
    """

    theirs: int
    ours: int
    body: bytes = b""
    content_type: str | None = "application/json"
    method: str = "POST"
    path: str = "/invocations"


DIFFERENCES: Mapping[str, Difference] = {
    "no content type": Difference(500, 415, BODY, None),
    "a body that breaks MLflow": Difference(500, 400, b'{"inputs": ' + b"1" * 5000 + b"}"),
    "Parquet": Difference(400, 415, b"PAR1", "application/vnd.apache.parquet"),
    "`messages`, `prompt` or `input`": Difference(
        200, 400, b'{"prompt": "x", "a": [1.5], "b": [2.5], "c": [3.5]}'
    ),
    "a parameter of type `object`": Difference(
        400, 200, BODY.replace(b"}}", b'}, "params": {"options": {"depth": "x"}}}')
    ),
    "too many rows": Difference(
        200, 413, json.dumps({"inputs": {name: [1.5] * (MOST_ROWS + 1) for name in ABC}}).encode()
    ),
    "`HEAD`": Difference(405, 200, content_type=None, method="HEAD", path="/ping"),
    "a slash at the end of a path": Difference(
        307, 404, content_type=None, method="GET", path="/ping/"
    ),
}
"""By the names that docs/api.md has for them."""


@pytest.fixture(scope="module")
def peers(models: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, Peers]]:
    """Both servers of each model, by its name."""
    folder = tmp_path_factory.mktemp("scored")
    with ExitStack() as stack:
        servers = {}
        for name, columns in MODELS.items():
            source = models / name
            if not source.exists():
                source = train(name, list(columns), folder / name)
            servers[name] = stack.enter_context(serving(source, folder / f"{name} copies"))
        yield servers


def train(name: str, columns: list[str], folder: Path) -> Path:
    """A model whose every prediction changes with every value."""
    random = np.random.default_rng(0)
    table = pd.DataFrame(random.normal(size=(20, len(columns))), columns=columns)
    x = table.to_numpy() if name in ARRAYS else table
    model = LinearRegression().fit(x, random.normal(size=20))
    return save(model, folder, x, signature=SIGNATURES[name], input_example=None)


def assert_same(answers: tuple[httpx.Response, httpx.Response]) -> None:
    ours, theirs = answers
    if theirs.status_code == 500:
        assert ours.status_code == 400, ours.text
        return
    assert ours.status_code == theirs.status_code, (ours.text, theirs.text)
    if ours.status_code == 200:
        assert ours.headers["Content-Type"] == theirs.headers["Content-Type"]
        assert_equal(json.loads(ours.content), json.loads(theirs.content))
    elif ours.status_code == 400:
        assert ours.json()["error_code"] == theirs.json()["error_code"], (ours.text, theirs.text)


def assert_equal(ours: Any, theirs: Any) -> None:
    assert type(ours) is type(theirs)
    if isinstance(theirs, dict):
        assert_equal(list(ours.items()), list(theirs.items()))
    elif isinstance(theirs, list | tuple):
        assert len(ours) == len(theirs)
        for our, their in zip(ours, theirs, strict=True):
            assert_equal(our, their)
    elif isinstance(theirs, float):
        # The last bits depend on how the numbers lie in memory, and more of them if terms cancel.
        assert ours == pytest.approx(theirs, rel=1e-9, abs=1e-9, nan_ok=True)
    else:
        assert ours == theirs


def is_for_language_models(body: bytes) -> bool:
    try:
        document = json.loads(body)
    except ValueError:
        return False
    return isinstance(document, dict) and bool(document.keys() & LANGUAGE_KEYS)


@pytest.mark.parametrize("name", MODELS)
@given(data=st.data())
@settings(max_examples=25, deadline=None)
def test_tables_get_the_same_predictions(
    peers: dict[str, Peers], name: str, data: st.DataObject
) -> None:
    body = data.draw(tables(MODELS[name]))
    assert_same(peers[name].ask("POST", "/invocations", body, "application/json"))


@pytest.mark.parametrize("name", MODELS)
@given(data=st.data())
@settings(max_examples=25, deadline=None)
def test_any_json_gets_the_same_answer(
    peers: dict[str, Peers], name: str, data: st.DataObject
) -> None:
    body = data.draw(texts(MODELS[name]).filter(lambda body: not is_for_language_models(body)))
    assert_same(peers[name].ask("POST", "/invocations", body, "application/json"))


@pytest.mark.parametrize("name", MODELS)
@given(data=st.data())
@settings(max_examples=10, deadline=None)
def test_csv_gets_the_same_answer(peers: dict[str, Peers], name: str, data: st.DataObject) -> None:
    body = data.draw(csv_texts(list(MODELS[name])))
    assert_same(peers[name].ask("POST", "/invocations", body, "text/csv"))


@pytest.mark.parametrize(
    "body",
    [
        b'{"inputs": {"a": [1], "b": [2], "c": [3]}, "inputs": {"a": [4], "b": [5], "c": [6]}}',
        b'{"inputs": {"a": [1], "b": [2], "c": [3], "a": [4]}}',
        b'{"inputs": {"a": [-0], "b": [-0.0], "c": [1E2]}}',
        b'{"inputs": {"a": [NaN], "b": [Infinity], "c": [-Infinity]}}',
        b'{"inputs": {"a": [1e400], "b": [1e-400], "c": [0.1e1]}}',
        b'{"inputs": {"a": ["5"], "b": [true], "c": [null]}}',
        b'{"inputs": {"a": [1.5], "b": [2], "c": [3]}, "\xff": 1}',
        b'{"inputs": {"a": [1.5], "b": [2], "c": [3]}, "other": 1, "signature_name": "x"}',
        b'{"inputs": {"a": [1.5], "b": [2], "c": [3]}} x',
        b'{"inputs": {"a": [1.5], "b": [2], "c": [3, 4]}}',
        b'{"inputs": {"a": [], "b": [], "c": []}}',
        b'{"inputs": [{"a": 1, "b": 2, "c": 3}], "instances": [[1, 2, 3]]}',
        b'{"dataframe_split": {"columns": ["a", "a", "b", "c"], "data": [[1, 2, 3, 4]]}}',
        b'{"dataframe_split": {"columns": ["a", "b", "c"], "data": [[1, 2, 3], [4, 5]]}}',
        b'{"dataframe_split": {"columns": ["c", "a", "b"], "index": [3, 3], "data": [[1, 2, 3]]}}',
        b'{"dataframe_records": [{"a": 1, "b": 2, "c": 3, "d": 4}]}',
        b'{"dataframe_records": [{"a": 1, "b": 2, "c": 3}, {"a": 1, "b": 2}]}',
        b'{"dataframe_records": [{"a": 9007199254740993, "b": 1e22, "c": 2.5}]}',
    ],
)
@pytest.mark.parametrize("name", ["doubles", "kinds", "array", "no signature"])
def test_what_readers_of_json_disagree_on_is_read_as_mlflow_reads_it(
    peers: dict[str, Peers], name: str, body: bytes
) -> None:
    assert_same(peers[name].ask("POST", "/invocations", body, "application/json"))


@given(
    params=st.one_of(
        scalars,
        st.dictionaries(
            st.sampled_from(
                [*(param.name for param in PARAMS if param.name != "options"), "other"]
            ),
            st.one_of(
                scalars, st.lists(st.one_of(scalars, st.lists(scalars, max_size=2)), max_size=3)
            ),
            max_size=3,
        ),
    )
)
@settings(max_examples=100, deadline=None)
def test_params_get_the_same_answer(peers: dict[str, Peers], params: Any) -> None:
    body = json.dumps({"inputs": {"a": [1.5], "b": [2], "c": [3]}, "params": params}).encode()
    assert_same(peers["doubles"].ask("POST", "/invocations", body, "application/json"))


@pytest.mark.parametrize("params", [None, {}, {"other": 1}, [], [1], "x", 5])
def test_params_of_a_model_that_knows_none_get_the_same_answer(
    peers: dict[str, Peers], params: Any
) -> None:
    row = {"a": 1.5, "b": 2.5, "c": 3, "d": 4}
    body = json.dumps({"instances": [row], "params": params}).encode()
    assert_same(peers["kinds"].ask("POST", "/invocations", body, "application/json"))


@pytest.mark.parametrize(
    "content_type",
    [
        "application/json; charset=utf-8",
        "application/json;charset=UTF-8",
        "application/json; charset=latin-1; charset=utf-8",
        "application/json; charset=utf-8; charset=latin-1",
        'application/json; charset="utf-8"',
        "application/json; charset = utf-8",
        "application/json; Charset=utf-8",
        "application/json; charset",
        "application/json;",
        "application/json; boundary=x",
        "Application/JSON",
        "text/csv; charset=utf-8",
        "text/plain",
        "",
    ],
)
@pytest.mark.parametrize("body", [BODY, b"a,b,c\n1.5,2.5,3.5\n"], ids=["json", "csv"])
def test_content_types_get_the_same_answer(
    peers: dict[str, Peers], content_type: str, body: bytes
) -> None:
    assert_same(peers["doubles"].ask("POST", "/invocations", body, content_type))


@pytest.mark.parametrize("path", ["/ping", "/health", "/version", "/invocations"])
@pytest.mark.parametrize("method", ["GET", "PUT", "DELETE"])
def test_the_other_paths_get_the_same_answer(
    peers: dict[str, Peers], method: str, path: str
) -> None:
    ours, theirs = peers["doubles"].ask(method, path)
    assert ours.status_code == theirs.status_code
    if ours.status_code == 200:
        assert ours.content == theirs.content
        assert ours.headers["Content-Type"] == theirs.headers["Content-Type"]


@pytest.mark.parametrize("name", DIFFERENCES)
def test_what_is_answered_differently_on_purpose(peers: dict[str, Peers], name: str) -> None:
    case = DIFFERENCES[name]
    ours, theirs = peers["doubles"].ask(case.method, case.path, case.body, case.content_type)
    assert (ours.status_code, theirs.status_code) == (case.ours, case.theirs)


def test_errors_are_problems_with_the_members_that_mlflow_has(peers: dict[str, Peers]) -> None:
    ours, theirs = peers["doubles"].ask("POST", "/invocations", b"{}", "application/json")
    assert ours.headers["Content-Type"] == "application/problem+json"
    assert ours.json().keys() > {"error_code", "message"} <= theirs.json().keys()


def test_every_difference_is_documented_and_no_other() -> None:
    assert documented_differences() == list(DIFFERENCES)
