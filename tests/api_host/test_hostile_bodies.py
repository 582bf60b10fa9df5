"""Bodies that are made to break whoever reads them, for all that reads bodies."""

import asyncio
import gzip
import json
import re
import socket
import struct
import time
import tracemalloc
from collections.abc import AsyncIterator, Iterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import grpc
import httpx
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from api_host.app import create_app
from api_host.rpc.open_inference_pb2 import InferTensorContents, ModelInferRequest
from api_host.settings import ApiSettings
from tests.api_host.arrow_streams import ARROW, column, written
from tests.api_host.conftest import IRIS, until_served
from tests.api_host.registry_server import running
from tests.api_host.test_serve import ROW

MOST_SECONDS = 20
REFUSED = {400, 413, 415, 422}
AWAY = {503}

HOME = {"city": "Bern", "rooms": 3, "floor": 2, "new": True, "area": 80.5, "tax": 0.5}
TYPES = dict(zip(HOME, ["BYTES", "INT64", "INT32", "BOOL", "FP32", "FP64"], strict=True))

JSON = "application/json"
CSV = "text/csv"


@dataclass(frozen=True)
class Codec:
    """A form of body, and one that is right."""

    path: str
    content_type: str
    body: bytes
    headers: Mapping[str, str] = field(default_factory=dict)
    status: int = 200


def tensors(columns: Mapping[str, Any]) -> list[dict[str, Any]]:
    return [
        {"name": name, "datatype": TYPES.get(name, "FP64"), "shape": [1], "data": [value]}
        for name, value in columns.items()
    ]


def binary(columns: Mapping[str, Any]) -> Codec:
    """A request of v2 whose values are binary data, the first of them a string."""
    formats = {"BYTES": "", "INT64": "<q", "INT32": "<i", "BOOL": "?", "FP32": "<f", "FP64": "<d"}
    head, tail = [], b""
    for tensor in tensors(columns):
        (value,) = tensor.pop("data")
        if isinstance(value, str):
            data = struct.pack("<I", len(value)) + value.encode()
        else:
            data = struct.pack(formats[tensor["datatype"]], value)
        head.append({**tensor, "parameters": {"binary_data_size": len(data)}})
        tail += data
    document = json.dumps({"inputs": head}).encode()
    headers = {"Inference-Header-Content-Length": str(len(document))}
    return Codec("/v2/models/home/infer", JSON, document + tail, headers)


def as_json(path: str, document: Any, status: int = 200) -> Codec:
    return Codec(path, JSON, json.dumps(document).encode(), status=status)


SPLIT = {"columns": list(HOME), "data": [list(HOME.values())], "index": [0]}
LISTS = {name: [value] for name, value in HOME.items()}
TABLE = ",".join(HOME) + "\n" + ",".join(map(str, HOME.values())) + "\n"
IRIS_COLUMNS = {name: column([1.0, 2.0]) for name in IRIS}

CODECS: Mapping[str, Codec] = {
    "rows of numbers": as_json("/v1/models/iris/predict", {"rows": [ROW, ROW]}),
    "columns of numbers": as_json(
        "/v1/models/iris/predict", {"columns": {name: [value] for name, value in ROW.items()}}
    ),
    "rows": as_json("/v1/models/home/predict", {"rows": [HOME]}),
    "columns": as_json("/v1/models/home/predict", {"columns": LISTS}),
    "CSV": Codec("/v1/models/home/predict", CSV, TABLE.encode()),
    "NDJSON": Codec(
        "/v1/models/home/predict", "application/x-ndjson", json.dumps(HOME).encode() + b"\n"
    ),
    "Arrow": Codec("/v1/models/iris/predict", ARROW, written(IRIS_COLUMNS, IRIS_COLUMNS)),
    "dataframe_split": as_json("/invocations", {"dataframe_split": SPLIT, "params": {"a": 1}}),
    "dataframe_records": as_json("/invocations", {"dataframe_records": [HOME]}),
    "inputs": as_json("/invocations", {"inputs": LISTS}),
    "instances": as_json("/invocations", {"instances": [HOME]}),
    "CSV of MLflow": Codec("/invocations", CSV, TABLE.encode()),
    "tensors": as_json("/v2/models/home/infer", {"id": "1", "inputs": tensors(HOME)}),
    "a tensor of numbers": as_json(
        "/v2/models/iris/infer",
        {"inputs": [{"name": "x", "datatype": "FP64", "shape": [1, 4], "data": [[1, 2, 3, 4]]}]},
    ),
    "binary tensors": binary(HOME),
    "a training": as_json("/v1/trainings", {"model_name": "iris", "margin": 0.1}, status=503),
}

JUNK = (
    b"NaN",
    b"-Infinity",
    b"1e400",
    b"-1e-400",
    b"1e99999999999",
    b"9" * 10_000,
    b"0." + b"1" * 10_000,
    b"-9223372036854775809",
    b"18446744073709551616",
    b"null",
    b"true",
    b"[]",
    b"{}",
    b'"x"',
    b'""',
    b"[" * 100_000,
    b"[" * 900 + b"]" * 900,
    b'{"a":' * 100_000,
    b'"\\ud800"',
    b'"\\u0000"',
    b'"\\',
    b"\xff\xfe",
    b"\xed\xa0\x80",
    b"\xef\xbb\xbf",
    b"\x00",
    b"\x00\x00\x00\x80",
    b"\xff\xff\xff\x7f",
    b"\xff\xff\xff\xff",
    b'"' + b"y" * 100_000 + b'"',
    b",",
    b'"rows":1,',
    b"\n",
    b"1_000",
    b"=1+1",
    b"0x1p3",
    "\u0663".encode(),
    "\U0001d7d9".encode(),
)


@st.composite
def spoiled(draw: st.DrawFn, body: bytes) -> bytes:
    """A body in which something is wrong, or several things."""
    for _ in range(draw(st.integers(1, 3))):
        tokens = [match.span() for match in re.finditer(rb'"[^"]*"|[-\d.]+|true|\W', body)]
        start, end = draw(st.sampled_from(tokens or [(0, len(body))]))
        junk = draw(st.sampled_from(JUNK) | st.binary(max_size=8))
        match draw(st.sampled_from(["cut", "drop", "replace", "insert", "repeat", "flip", "wrap"])):
            case "cut":
                body = body[:start]
            case "drop":
                body = body[:start] + body[end:]
            case "replace":
                body = body[:start] + junk + body[end:]
            case "insert":
                body = body[:start] + junk + body[start:]
            case "repeat":
                body = body[:start] + body[start:] * draw(st.sampled_from([2, 3, 50]))
            case "flip":
                flipped = bytes([body[start] ^ 1 << draw(st.integers(0, 7))]) if body else b""
                body = body[:start] + flipped + body[start + 1 :]
            case "wrap":
                body = junk + body + junk
    return body


class Api:
    """An API in this process, asked between other things."""

    def __init__(self, runner: asyncio.Runner, client: httpx.AsyncClient, grpc_port: int) -> None:
        self._runner = runner
        self._client = client
        self._channel = f"127.0.0.1:{grpc_port}"

    def ask(self, codec: Codec, body: bytes, **headers: str) -> httpx.Response:
        given = {"Content-Type": codec.content_type, **codec.headers, **headers}
        return self._runner.run(self._client.post(codec.path, content=body, headers=given))

    def call(self, message: bytes) -> grpc.StatusCode:
        """The status that a message gets over gRPC."""
        return self._runner.run(self._call(message))

    async def _call(self, message: bytes) -> grpc.StatusCode:
        async with grpc.aio.insecure_channel(self._channel) as channel:
            infer: Any = channel.unary_unary("/inference.GRPCInferenceService/ModelInfer")
            call = infer(message, timeout=MOST_SECONDS, wait_for_ready=True)
            code: grpc.StatusCode = await call.code()
            return code


@asynccontextmanager
async def served(
    settings: ApiSettings, grpc_socket: socket.socket
) -> AsyncIterator[httpx.AsyncClient]:
    app = create_app(settings, grpc_socket)
    transport = httpx.ASGITransport(app)
    async with (
        app.router.lifespan_context(app),
        httpx.AsyncClient(transport=transport, base_url="http://api") as client,
    ):
        await until_served(client, "1")
        await until_served(client, "1", "home")
        yield client


@pytest.fixture(scope="module")
def api(models: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Api]:
    with (
        running() as registry,
        asyncio.Runner() as runner,
        socket.create_server(("127.0.0.1", 0)) as grpc_socket,
    ):
        registry.promote("iris", models / "linear")
        registry.promote("home", models / "mixed")
        host = served(
            ApiSettings(
                mlflow_tracking_uri=registry.url,
                airflow_base_url="http://127.0.0.1:9",
                state_directory=tmp_path_factory.mktemp("state"),
                model_name="home",
                api_rate_requests=100_000,  # All clients of a test are one caller.
                model_trusted_types=(
                    "sklearn.ensemble._hist_gradient_boosting.predictor.TreePredictor",
                ),
            ),
            grpc_socket,
        )
        client = runner.run(host.__aenter__())
        yield Api(runner, client, grpc_socket.getsockname()[1])
        runner.run(host.__aexit__(None, None, None))


def assert_answered(codec: Codec, answer: httpx.Response) -> None:
    """It is an answer, or a problem that says where it is if it is somewhere."""
    assert answer.status_code in REFUSED | {codec.status}, answer.text[:1000]
    if answer.is_success:
        return
    is_v2 = answer.request.url.path.startswith("/v2/")
    expected = "application/json" if is_v2 else "application/problem+json"
    assert answer.headers["Content-Type"] == expected
    document = answer.json()
    assert document["status"] == answer.status_code
    assert document["detail"]
    assert len(answer.content) < 50_000 + 2 * len(answer.request.content)
    if document["type"].endswith("invalid-input"):
        assert document["errors"]
        assert all(e["pointer"] == "" or e["pointer"][0] == "/" for e in document["errors"])


@pytest.mark.parametrize("name", CODECS)
def test_a_body_that_is_right_is_answered(api: Api, name: str) -> None:
    codec = CODECS[name]
    answer = api.ask(codec, codec.body)
    assert answer.status_code == codec.status, answer.text


@pytest.mark.parametrize("name", CODECS)
@given(data=st.data())
@settings(max_examples=15)
def test_a_spoiled_body_is_answered_or_refused_in_time(
    api: Api, name: str, data: st.DataObject
) -> None:
    codec = CODECS[name]
    body = data.draw(spoiled(codec.body))
    start = time.monotonic()
    answer = api.ask(codec, body)
    assert time.monotonic() - start < MOST_SECONDS
    assert_answered(codec, answer)


@pytest.mark.parametrize("name", [name for name, codec in CODECS.items() if codec.body[:1] == b"{"])
def test_a_name_or_text_that_is_not_utf_8_is_never_a_500(api: Api, name: str) -> None:
    codec = CODECS[name]
    for text in re.finditer(rb'"[^"]*"', codec.body):
        body = codec.body[: text.start()] + b'"\xff"' + codec.body[text.end() :]
        assert_answered(codec, api.ask(codec, body))


def columns_with(text: str) -> bytes:
    """Columns, of which one has a text that is longer than all others."""
    columns = {name: [value] * 3000 for name, value in HOME.items()}
    columns["city"][0] = text
    return json.dumps({"inputs": columns}).encode()


BOMBS = {
    "arrays in arrays": b"[" * 1_000_000,
    "objects in objects": b'{"rows":' * 100_000,
    "a number": b'{"rows":[[' + b"9" * 1_000_000 + b"]]}",
    "rows": b'{"rows":[' + b"[]," * 30_000 + b"[]]}",
    "values": b'{"rows":[[' + b"1," * 100_000 + b"1]]}",
    "members": b'{"columns":{' + b",".join(b'"%d":[1]' % i for i in range(12_000)) + b"}}",
    "a string": b'{"rows":[["' + b"\\u0000" * 150_000 + b'"]]}',
    "lines": b"\n" * 50_000,
    "fields": b"," * 1_000_000,
    "quotes": b'"' * 999_999,
    "zeros": bytes(1_000_000),
    "rows with columns of their own": json.dumps(
        {"dataframe_records": [{str(row): 1} for row in range(20_000)]}
    ).encode(),
    "rows of which one is long": json.dumps(
        {"dataframe_split": {"data": [*([[]] * 10_000), [1] * 10_000]}}
    ).encode(),
    "columns of which one is long": json.dumps(
        {"dataframe_split": {"data": {str(i): 1 for i in range(10_000)} | {"x": [1] * 10_000}}}
    ).encode(),
    "a text that is longer than the others": columns_with("y" * 100_000),
    "lines that are short": b"x," * 9_000 + b"\n1" * 5_000,
    "a zip bomb": gzip.compress(bytes(100_000_000), 9),
}


@pytest.mark.parametrize("name", BOMBS)
def test_a_bomb_takes_little_memory(api: Api, name: str) -> None:
    body = BOMBS[name]
    for codec in CODECS.values():
        tracemalloc.start()
        try:
            answer = api.ask(codec, body, **{"Content-Encoding": "gzip"} if body[0] == 31 else {})
            _, peak = tracemalloc.get_traced_memory()
        finally:
            tracemalloc.stop()
        assert_answered(codec, answer)
        assert peak < 16_000_000 + 150 * len(body) + 4 * len(answer.content), codec


def message() -> bytes:
    inputs = [
        ModelInferRequest.InferInputTensor(
            name="x",
            datatype="FP64",
            shape=[1, 4],
            contents=InferTensorContents(fp64_contents=[1, 2, 3, 4]),
        )
    ]
    return ModelInferRequest(model_name="iris", inputs=inputs).SerializeToString()


@given(body=spoiled(message()))
@settings(max_examples=15)
def test_a_spoiled_message_is_answered_or_refused(api: Api, body: bytes) -> None:
    assert api.call(body) in {
        grpc.StatusCode.OK,
        grpc.StatusCode.INVALID_ARGUMENT,
        grpc.StatusCode.NOT_FOUND,
        grpc.StatusCode.UNAVAILABLE,
    }
