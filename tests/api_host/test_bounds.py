"""What a request may be made of, as the settings say, in whatever form it comes."""

import json
import struct
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import grpc
import httpx
import pytest
from hypothesis import given
from hypothesis import strategies as st

from api_host.bounds import Bounds
from api_host.problems import Problem
from api_host.rpc.open_inference_pb2 import InferTensorContents, ModelInferRequest
from api_host.settings import ApiSettings
from tests.api_host.arrow_streams import ARROW, column, written
from tests.api_host.conftest import IRIS, Start, until_served
from tests.api_host.registry_server import RegistryServer
from tests.api_host.test_hostile_bodies import HOME, LISTS, TYPES, tensors
from tests.api_host.test_serve import ROW, free_port

DEPTH, COLUMNS, CHARACTERS, HEADERS = 8, 10, 1024, 20

JSON = "application/json"
NDJSON = "application/x-ndjson"
CSV = "text/csv"
MIXED_TREES = "sklearn.ensemble._hist_gradient_boosting.predictor.TreePredictor"

LONG = "y" * (CHARACTERS + 1)
WIDE = {str(index): 1 for index in range(COLUMNS + 1)}
DEEP: Any = 1
for _ in range(DEPTH):
    DEEP = [DEEP]

HOME_PREDICT = "/v1/models/home/predict"
HOME_INFER = "/v2/models/home/infer"
IRIS_INFER = "/v2/models/iris/infer"
TENSOR = {"name": "x", "shape": [1, 4], "datatype": "FP64", "data": [1, 2, 3, 4]}


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


@pytest.fixture
async def bounded(
    registry: RegistryServer, settings: ApiSettings, start: Start, models: Path
) -> AsyncIterator[tuple[httpx.AsyncClient, int]]:
    """An API with small limits, and its port of gRPC."""
    registry.promote("iris", models / "linear")
    registry.promote("home", models / "mixed")
    port = free_port()
    limits = {
        "api_grpc_port": port,
        "api_max_json_depth": DEPTH,
        "api_max_columns": COLUMNS,
        "api_max_string_characters": CHARACTERS,
        "api_max_headers": HEADERS,
        "model_name": "home",
        "model_trusted_types": (MIXED_TREES,),
    }
    async with start(settings.model_copy(update=limits)) as api:
        await until_served(api, "1")
        await until_served(api, "1", "home")
        yield api, port


def csv_of(row: dict[str, Any]) -> bytes:
    return f"{','.join(row)}\n{','.join(map(str, row.values()))}\n".encode()


def binary(text: bytes) -> tuple[bytes, dict[str, str]]:
    """A request of v2 whose city is binary data."""
    data = struct.pack("<I", len(text)) + text
    city = {"name": "city", "datatype": "BYTES", "shape": [1]}
    rest = tensors({name: value for name, value in HOME.items() if name != "city"})
    first = {**city, "parameters": {"binary_data_size": len(data)}}
    head = json.dumps({"inputs": [first, *rest]}).encode()
    return head + data, {"Inference-Header-Content-Length": str(len(head))}


def dumped(document: Any) -> bytes:
    return json.dumps(document).encode()


TOO_DEEP = {
    "rows": (HOME_PREDICT, JSON, {"rows": [{**HOME, "city": DEEP}]}),
    "columns": (HOME_PREDICT, JSON, {"columns": {**LISTS, "city": DEEP}}),
    "dataframe_records": ("/invocations", JSON, {"dataframe_records": [{**HOME, "city": DEEP}]}),
    "UTF-16": ("/invocations", JSON, json.dumps({"inputs": {"city": DEEP}}).encode("utf-16-le")),
    "params": ("/invocations", JSON, {"inputs": LISTS, "params": {"a": DEEP}}),
    "tensors": (HOME_INFER, JSON, {"inputs": tensors(HOME), "parameters": {"a": DEEP}}),
    "numbers": (IRIS_INFER, JSON, {"inputs": [TENSOR], "parameters": {"a": DEEP}}),
    "a training": ("/v1/trainings", JSON, {"target": DEEP}),
    "a list of models": ("/v2/repository/index", JSON, {"x": DEEP}),
}
TOO_WIDE = {
    "rows": (HOME_PREDICT, JSON, dumped({"rows": [HOME, HOME | WIDE]})),
    "columns": (HOME_PREDICT, JSON, dumped({"columns": {n: [v] for n, v in WIDE.items()}})),
    "CSV": (HOME_PREDICT, CSV, csv_of(WIDE)),
    "dataframe_records": ("/invocations", JSON, dumped({"dataframe_records": [WIDE]})),
    "dataframe_split": (
        "/invocations",
        JSON,
        dumped({"dataframe_split": {"columns": list(WIDE), "data": []}}),
    ),
    "values of dataframe_split": (
        "/invocations",
        JSON,
        dumped({"dataframe_split": {"data": [list(WIDE.values())]}}),
    ),
    "inputs": ("/invocations", JSON, dumped({"inputs": WIDE})),
    "instances": ("/invocations", JSON, dumped({"instances": [WIDE]})),
    "CSV of MLflow": ("/invocations", CSV, csv_of(WIDE)),
    "tensors": (HOME_INFER, JSON, dumped({"inputs": tensors(WIDE)})),
    "a tensor": (
        HOME_INFER,
        JSON,
        dumped({"inputs": [{**TENSOR, "shape": [1, len(WIDE)], "data": [1] * len(WIDE)}]}),
    ),
    "outputs": (
        HOME_INFER,
        JSON,
        dumped({"inputs": tensors(HOME), "outputs": [{"name": name} for name in WIDE]}),
    ),
    "Arrow": (
        "/v1/models/iris/predict",
        ARROW,
        written({name: column([1.0]) for name in WIDE}),
    ),
}
LONG_HOME = {**HOME, "city": LONG}
TOO_LONG = {
    "rows": (HOME_PREDICT, JSON, dumped({"rows": [LONG_HOME]})),
    "a name": (HOME_PREDICT, JSON, dumped({"rows": [HOME | {LONG: 1}]})),
    "columns": (HOME_PREDICT, JSON, dumped({"columns": {**LISTS, "city": [LONG]}})),
    "CSV": (HOME_PREDICT, CSV, csv_of(LONG_HOME)),
    "dataframe_records": ("/invocations", JSON, dumped({"dataframe_records": [LONG_HOME]})),
    "inputs": ("/invocations", JSON, dumped({"inputs": {**LISTS, "city": [LONG]}})),
    "CSV of MLflow": ("/invocations", CSV, csv_of(LONG_HOME)),
    "quoted CSV of MLflow": (
        "/invocations",
        CSV,
        csv_of({**HOME, "city": '"' + "y\n" * CHARACTERS + '"'}),
    ),
    "tensors": (HOME_INFER, JSON, dumped({"inputs": tensors(LONG_HOME)})),
    "an id": (IRIS_INFER, JSON, dumped({"inputs": [TENSOR], "id": LONG})),
    "a name of a tensor": (IRIS_INFER, JSON, dumped({"inputs": [{**TENSOR, "name": LONG}]})),
    "a parameter": (IRIS_INFER, JSON, dumped({"inputs": [TENSOR], "parameters": {"a": LONG}})),
    "escapes": (
        HOME_PREDICT,
        JSON,
        b'{"rows":[{"city":"' + b"\\u00e9" * (CHARACTERS + 1) + b'"}]}',
    ),
    "a training": ("/v1/trainings", JSON, dumped({"target": LONG})),
}


def assert_refused(answer: httpx.Response, status: int, *types: str) -> None:
    assert answer.status_code == status, answer.text[:500]
    assert answer.json()["type"].removeprefix("urn:tripod:problem:") in types


async def post(api: httpx.AsyncClient, case: tuple[str, str, Any]) -> httpx.Response:
    path, content_type, body = case
    content = body if isinstance(body, bytes) else dumped(body)
    return await api.post(path, content=content, headers={"Content-Type": content_type})


@pytest.mark.anyio
async def test_what_is_beyond_a_limit_is_refused_in_every_form(
    bounded: tuple[httpx.AsyncClient, int],
) -> None:
    api, _ = bounded
    for name, case in TOO_DEEP.items():
        answer = await post(api, case)
        assert_refused(answer, 400, "invalid-body", "invalid-invocation")
        assert f"{DEPTH} levels are the most" in answer.json()["detail"], name
    for case in TOO_WIDE.values():
        assert_refused(await post(api, case), 413, "too-many-columns")
    for case in TOO_LONG.values():
        assert_refused(await post(api, case), 413, "string-too-long")
    body, headers = binary(LONG.encode())
    assert_refused(
        await api.post(HOME_INFER, content=body, headers=headers), 413, "string-too-long"
    )


@pytest.mark.anyio
async def test_what_is_just_within_the_limits_is_answered(
    bounded: tuple[httpx.AsyncClient, int],
) -> None:
    api, _ = bounded
    city = "é" * CHARACTERS
    home = {**HOME, "city": city}
    escaped = dumped({"rows": [{**HOME, "city": "\U0001f300" + '[{"' * (CHARACTERS // 3 - 1)}]})
    body, headers = binary(b"y" * CHARACTERS)
    deep = DEEP[0]  # The parameters and the request are two more.
    for _ in range(1):
        deep = deep[0]
    answers = [
        await post(api, (HOME_PREDICT, JSON, {"rows": [home] * 50})),
        await post(api, (HOME_PREDICT, JSON, escaped)),
        await post(api, (HOME_PREDICT, NDJSON, json.dumps(home, ensure_ascii=False).encode())),
        await post(api, (HOME_PREDICT, CSV, csv_of(home))),
        await post(api, ("/invocations", JSON, {"dataframe_records": [home] * 50})),
        await post(api, (HOME_INFER, JSON, {"inputs": tensors(home)})),
        await post(api, (IRIS_INFER, JSON, {"inputs": [TENSOR], "parameters": {"a": deep}})),
        await api.post(HOME_INFER, content=body, headers=headers),
    ]
    assert [answer.status_code for answer in answers] == [200] * len(answers)
    assert "prediction" in answers[2].json()


@pytest.mark.anyio
async def test_a_line_beyond_a_limit_fails_only_itself(
    bounded: tuple[httpx.AsyncClient, int],
) -> None:
    api, _ = bounded
    rows = [HOME, LONG_HOME, {**HOME, "city": DEEP}, HOME | WIDE, HOME]
    lines = b"".join(dumped(row) + b"\n" for row in rows)
    answer = await post(api, (HOME_PREDICT, NDJSON, lines))
    records = [json.loads(line) for line in answer.text.splitlines()]
    types = [record.get("problem", {}).get("type", "").rpartition(":")[2] for record in records]
    assert types == ["", "string-too-long", "invalid-body", "too-many-columns", ""]


def message(**changes: Any) -> ModelInferRequest:
    fields = {"BYTES": "bytes_contents", "INT64": "int64_contents", "INT32": "int_contents"}
    fields |= {"BOOL": "bool_contents", "FP32": "fp32_contents", "FP64": "fp64_contents"}
    inputs = []
    for name, value in {**HOME, **changes}.items():
        datatype = TYPES.get(name, "FP64")
        given = value.encode() if isinstance(value, str) else value
        contents = InferTensorContents()
        getattr(contents, fields[datatype]).append(given)
        inputs.append(
            ModelInferRequest.InferInputTensor(
                name=name, datatype=datatype, shape=[1], contents=contents
            )
        )
    return ModelInferRequest(model_name="home", inputs=inputs)


@pytest.mark.anyio
async def test_the_limits_hold_over_grpc(bounded: tuple[httpx.AsyncClient, int]) -> None:
    _, port = bounded
    many = [(f"x-{index}", "y") for index in range(HEADERS + 1)]
    large = [("x", "y" * 30_000)]
    async with grpc.aio.insecure_channel(f"127.0.0.1:{port}") as channel:
        infer: Any = channel.unary_unary("/inference.GRPCInferenceService/ModelInfer")

        async def refusal(request: ModelInferRequest, metadata: Any = ()) -> tuple[Any, str]:
            call = infer(
                request.SerializeToString(), metadata=metadata, timeout=60, wait_for_ready=True
            )
            code = await call.code()
            trailing = dict(await call.trailing_metadata())
            return code, str(trailing.get("problem-type", "")).rpartition(":")[2]

        invalid = grpc.StatusCode.INVALID_ARGUMENT
        exhausted = grpc.StatusCode.RESOURCE_EXHAUSTED
        assert await refusal(message(city=LONG)) == (invalid, "string-too-long")
        assert await refusal(message(**WIDE)) == (invalid, "too-many-columns")
        assert await refusal(message(**{LONG: 1.0})) == (invalid, "string-too-long")
        assert await refusal(message(), many) == (exhausted, "headers-too-large")
        assert (await refusal(message(), large))[0] is exhausted
        assert await refusal(message()) == (grpc.StatusCode.OK, "")


@pytest.mark.anyio
async def test_a_model_with_more_columns_than_the_limit_is_served(
    registry: RegistryServer, settings: ApiSettings, start: Start, models: Path
) -> None:
    registry.promote("iris", models / "linear")
    async with start(settings.model_copy(update={"api_max_columns": 1})) as api:
        await until_served(api, "1")
        lists = {name: [value] for name, value in ROW.items()}
        forms = [
            (JSON, {"rows": [ROW]}),
            (JSON, {"rows": [{**ROW, "petal_width": 10**400}]}),
            (CSV, csv_of(ROW)),
            (NDJSON, dumped(ROW)),
            (ARROW, written({name: column([1.0]) for name in IRIS})),
        ]
        for content_type, body in forms:
            answer = await post(api, ("/v1/models/iris/predict", content_type, body))
            assert answer.status_code == 200 or "10000" in answer.text, answer.text
        for path, document in (
            ("/invocations", {"inputs": lists}),
            (IRIS_INFER, {"inputs": [{**TENSOR, "data": [[1, 2, 3, 4]]}]}),
        ):
            assert (await post(api, (path, JSON, document))).status_code == 200
        answer = await post(api, ("/v1/models/iris/predict", JSON, {"rows": [ROW | {"x": 1}]}))
        assert_refused(answer, 413, "too-many-columns")


PATHS = (
    "/v1/models/home/predict",
    "/v1/models/home/predict_proba",
    "/invocations",
    "/v2/models/home/infer",
    "/v2/repository/index",
    "/v2/repository/models/home/load",
    "/v1/trainings",
)


@pytest.mark.anyio
@pytest.mark.parametrize("encoding", ["gzip", "deflate", "br", "zstd", "identity, gzip", "x"])
async def test_a_compressed_body_is_refused_everywhere(
    bounded: tuple[httpx.AsyncClient, int], encoding: str
) -> None:
    api, _ = bounded
    for path in PATHS:
        for content_type in (JSON, NDJSON):
            headers = {"Content-Type": content_type, "Content-Encoding": encoding}
            answer = await api.post(path, content=b"\x1f\x8b", headers=headers)
            if "proba" not in path:
                assert_refused(answer, 415, "unsupported-media-type")
            assert answer.status_code in {415, 422}


json_values = st.recursive(
    st.none() | st.text('ab"\\[]{}\u00e9\n', max_size=6) | st.integers(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text('a"[', max_size=3), inner),
    max_leaves=20,
)


def depth_of(value: Any) -> int:
    if isinstance(value, dict):
        value = list(value.values())
    return 1 + max(map(depth_of, value), default=0) if isinstance(value, list) else 0


def longest_of(value: Any) -> int:
    match value:
        case str():
            return len(value)
        case dict():
            return max([*map(longest_of, value), *map(longest_of, value.values())], default=0)
        case list():
            return max(map(longest_of, value), default=0)
    return 0


@given(value=json_values, escaped=st.booleans(), depth=st.integers(0, 4), long=st.integers(0, 5))
def test_nesting_and_strings_are_measured_right(
    value: Any, escaped: bool, depth: int, long: int
) -> None:
    text = json.dumps(value, ensure_ascii=escaped).encode()
    fits = depth_of(value) <= depth and longest_of(value) <= long
    try:
        Bounds(depth=depth, characters=long).check_json(text)
    except Problem:
        assert not fits
    else:
        assert fits
