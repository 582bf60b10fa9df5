"""The Open Inference Protocol over gRPC, as its clients see it."""

import asyncio
import logging
import socket
import subprocess
import sys
import threading
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import grpc
import httpx
import numpy as np
import pytest
import structlog
from google.protobuf.descriptor_pool import DescriptorPool
from google.protobuf.message import Message
from google.protobuf.message_factory import GetMessageClass
from grpc import StatusCode
from grpc_health.v1.health_pb2 import HealthCheckRequest, HealthCheckResponse
from grpc_reflection.v1alpha.proto_reflection_descriptor_database import (
    ProtoReflectionDescriptorDatabase,
)
from structlog.contextvars import merge_contextvars

from api_host import serve
from api_host.limits import OwnLimits
from api_host.models.model import Model
from api_host.rpc import health
from api_host.rpc.open_inference_pb2 import (
    DESCRIPTOR,
    InferTensorContents,
    ModelInferRequest,
    ModelMetadataRequest,
    ModelMetadataResponse,
    ModelReadyRequest,
    ModelReadyResponse,
    RepositoryIndexRequest,
    RepositoryIndexResponse,
    RepositoryModelLoadRequest,
    RepositoryModelLoadResponse,
    RepositoryModelUnloadRequest,
    ServerLiveRequest,
    ServerLiveResponse,
    ServerMetadataRequest,
    ServerMetadataResponse,
    ServerReadyRequest,
    ServerReadyResponse,
)
from api_host.settings import ApiSettings
from hostkit import release
from tests.api_host.conftest import IRIS, Start, until, until_served
from tests.api_host.registry_server import RegistryServer

pytestmark = pytest.mark.anyio

SERVICE = DESCRIPTOR.services_by_name["GRPCInferenceService"]
ROW = [5.1, 3.5, 1.4, 0.2]
MOST_BYTES = 10_000
ABSENT = 10.0


@dataclass(frozen=True)
class Answer:
    """What came back: `metadata` are those behind the answer."""

    message: Any
    code: StatusCode
    detail: str
    metadata: dict[str, str]


class Client:
    """A client that knows the messages and nothing else of the host."""

    def __init__(self, channel: grpc.aio.Channel) -> None:
        self.channel = channel

    async def call(self, name: str, request: Message | bytes, **options: Any) -> Answer:
        """Calls a method, with a message or whatever a broken client sends."""
        response = GetMessageClass(SERVICE.methods_by_name[name].output_type)
        method: Any = self.channel.unary_unary(
            f"/{SERVICE.full_name}/{name}",
            request_serializer=lambda given: (
                given if isinstance(given, bytes) else given.SerializeToString()
            ),
            response_deserializer=response.FromString,
        )
        call = method(request, timeout=options.pop("timeout", ABSENT), **options)
        try:
            message = await call
        except grpc.aio.AioRpcError:
            message = None
        metadata = {str(key): str(value) for key, value in await call.trailing_metadata() or ()}
        return Answer(message, await call.code(), await call.details() or "", metadata)

    async def ask(self, name: str, request: Message) -> Any:
        """The answer, which is a success."""
        answer = await self.call(name, request)
        assert answer.code is StatusCode.OK, answer
        return answer.message

    async def refused(
        self, name: str, request: Message | bytes, code: StatusCode, kind: str, **options: Any
    ) -> str:
        """The detail of the answer, which is a refusal."""
        answer = await self.call(name, request, **options)
        assert answer.code is code, answer
        assert answer.metadata["problem-type"] == f"urn:tripod:problem:{kind}"
        waits = code in (StatusCode.UNAVAILABLE, StatusCode.DEADLINE_EXCEEDED)
        assert waits == ("retry-after" in answer.metadata)
        return answer.detail


def free_port() -> int:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        port: int = listener.getsockname()[1]
        return port


@pytest.fixture
def with_grpc(settings: ApiSettings) -> ApiSettings:
    limits = {"api_max_body_bytes": MOST_BYTES, "api_max_rows": 100}
    return settings.model_copy(update={"api_grpc_port": free_port(), **limits})


@pytest.fixture
async def http(
    registry: RegistryServer, with_grpc: ApiSettings, start: Start, models: Path
) -> AsyncIterator[httpx.AsyncClient]:
    registry.promote("iris", models / "linear", alias="challenger")
    registry.promote("iris", models / "forest")
    registry.promote("mixed", models / "mixed")
    async with start(with_grpc) as api:
        await until_served(api, "2")
        await until_served(api, "1", "mixed")
        yield api


@pytest.fixture
async def client(with_grpc: ApiSettings) -> AsyncIterator[Client]:
    async with grpc.aio.insecure_channel(f"127.0.0.1:{with_grpc.api_grpc_port}") as channel:
        yield Client(channel)


@pytest.fixture
async def api(http: httpx.AsyncClient, client: Client) -> Client:
    return client


def tensor(
    name: str = "any", rows: int = 1, datatype: str = "FP64", **members: Any
) -> ModelInferRequest.InferInputTensor:
    shape = members.pop("shape", [rows, 4])
    return ModelInferRequest.InferInputTensor(name=name, datatype=datatype, shape=shape, **members)


def with_values(rows: int = 1) -> ModelInferRequest:
    contents = InferTensorContents(fp64_contents=ROW * rows)
    return ModelInferRequest(model_name="iris", inputs=[tensor(rows=rows, contents=contents)])


def with_bytes(rows: int = 1, dtype: str = "float32") -> ModelInferRequest:
    data = np.array([ROW] * rows, dtype).tobytes()
    datatype = {"float32": "FP32", "float16": "FP16"}[dtype]
    inputs = [tensor(rows=rows, datatype=datatype)]
    return ModelInferRequest(model_name="iris", inputs=inputs, raw_input_contents=[data])


async def test_the_server_and_its_models(api: Client) -> None:
    assert (await api.ask("ServerLive", ServerLiveRequest())) == ServerLiveResponse(live=True)
    assert (await api.ask("ServerReady", ServerReadyRequest())) == ServerReadyResponse(ready=True)
    assert await api.ask("ServerMetadata", ServerMetadataRequest()) == ServerMetadataResponse(
        name="api-host", version=release.VERSION, extensions=["model_repository"]
    )
    for version in ("", "1"):
        request = ModelReadyRequest(name="iris", version=version)
        assert await api.ask("ModelReady", request) == ModelReadyResponse(ready=True)
    for request in (ModelReadyRequest(name="none"), ModelReadyRequest(name="iris", version="9")):
        assert await api.ask("ModelReady", request) == ModelReadyResponse(ready=False)
    described = ModelMetadataResponse.TensorMetadata
    assert await api.ask("ModelMetadata", ModelMetadataRequest(name="iris")) == (
        ModelMetadataResponse(
            name="iris",
            versions=["1", "2"],
            platform="sklearn_skops",
            inputs=[described(name=name, datatype="FP64", shape=[-1]) for name in IRIS],
            outputs=[described(name="output-0", datatype="BYTES", shape=[-1])],
        )
    )


async def test_answers_come_in_the_form_of_the_question(api: Client) -> None:
    answer = await api.call("ModelInfer", with_values(2))
    (output,) = answer.message.outputs
    assert (output.name, output.datatype, list(output.shape)) == ("output-0", "BYTES", [2])
    assert list(output.contents.bytes_contents) == [b"setosa"] * 2
    assert not answer.message.raw_output_contents
    assert answer.metadata["tripod-model"] == "iris/2"
    for request in (with_bytes(2), with_bytes(2, "float16")):
        request.id, request.model_version = "42", "1"
        answer = await api.call("ModelInfer", request)
        assert list(answer.message.raw_output_contents) == [b"\6\0\0\0setosa" * 2]
        assert (answer.message.id, answer.message.model_version) == ("42", "1")
        assert not answer.message.outputs[0].HasField("contents")


async def test_a_prediction_is_that_of_http(http: httpx.AsyncClient, api: Client) -> None:
    rows = (await http.get("/v1/models/mixed")).json()["example"]
    expected = (await http.post("/v1/models/mixed/predict", json={"rows": rows})).json()
    fields = {
        "BYTES": "bytes_contents",
        "INT64": "int64_contents",
        "INT32": "int_contents",
        "BOOL": "bool_contents",
        "FP32": "fp32_contents",
        "FP64": "fp64_contents",
    }
    request = ModelInferRequest(model_name="mixed")
    for column in (await api.ask("ModelMetadata", ModelMetadataRequest(name="mixed"))).inputs:
        values = [row[column.name] for row in rows]
        if column.datatype == "BYTES":
            values = [value.encode() for value in values]
        values = [float("nan") if value is None else value for value in values]
        contents = InferTensorContents(**{fields[column.datatype]: values})
        request.inputs.append(
            tensor(column.name, datatype=column.datatype, shape=[3], contents=contents)
        )
    (output,) = (await api.ask("ModelInfer", request)).outputs
    assert list(output.contents.fp64_contents) == expected["predictions"]


async def test_a_client_that_knows_nothing_learns_all_by_reflection(
    api: Client, with_grpc: ApiSettings
) -> None:
    def ask() -> tuple[Sequence[str], Any]:
        with grpc.insecure_channel(f"127.0.0.1:{with_grpc.api_grpc_port}") as channel:
            database = ProtoReflectionDescriptorDatabase(channel)
            pool = DescriptorPool(database)
            method = pool.FindServiceByName(SERVICE.full_name).methods_by_name["ModelInfer"]
            request = GetMessageClass(method.input_type)()
            request.ParseFromString(with_values().SerializeToString())
            infer = channel.unary_unary(
                f"/{SERVICE.full_name}/{method.name}",
                request_serializer=type(request).SerializeToString,
                response_deserializer=GetMessageClass(method.output_type).FromString,
            )
            return database.get_services(), infer(request, timeout=ABSENT)

    services, answer = await asyncio.to_thread(ask)
    assert {SERVICE.full_name, "grpc.health.v1.Health"} < set(services)
    assert answer.outputs[0].contents.bytes_contents[0] == b"setosa"


async def test_refusals_say_what_where_and_of_which_kind(api: Client) -> None:
    def infer(**members: Any) -> ModelInferRequest:
        request = with_values()
        request.MergeFrom(ModelInferRequest(**members))
        return request

    wrong, missing = StatusCode.INVALID_ARGUMENT, StatusCode.NOT_FOUND
    narrow = ModelInferRequest(model_name="iris", inputs=[tensor(shape=[1, 3])])
    narrow.inputs[0].contents.fp64_contents.extend(ROW[:3])
    for request, place in (
        (narrow, "/inputs/0/shape"),
        (infer(raw_input_contents=[b"1", b"2"]), "/raw_input_contents"),
        (infer(raw_input_contents=[b"1"]), "/inputs/0/contents"),
        (infer(outputs=[{"name": "none"}]), "/outputs/0/name"),
        (infer(inputs=[tensor()]), "/inputs/1/contents/fp64_contents"),
        (ModelInferRequest(model_name="iris"), "/inputs"),
    ):
        assert (await api.refused("ModelInfer", request, wrong, "invalid-input")).startswith(place)
    await api.refused("ModelInfer", with_values(101), wrong, "too-many-rows")
    for name in ("none", "n" * 9000, ""):
        request = ModelInferRequest(model_name=name)
        await api.refused("ModelInfer", request, missing, "unknown-model")
    request = ModelInferRequest(model_name="iris", model_version="9")
    await api.refused("ModelInfer", request, missing, "unknown-model")
    await api.refused("ModelMetadata", ModelMetadataRequest(name="é"), missing, "unknown-model")
    await api.refused("ModelInfer", b"\xff", wrong, "invalid-body")


async def test_a_message_too_large_or_compressed_is_refused(api: Client) -> None:
    answer = await api.call("ModelInfer", ModelInferRequest(id="x" * MOST_BYTES))
    assert answer.code is StatusCode.RESOURCE_EXHAUSTED
    answer = await api.call("ModelInfer", with_values(), compression=grpc.Compression.Gzip)
    assert answer.code is StatusCode.UNIMPLEMENTED
    assert "gzip" in answer.detail


async def test_before_the_first_model_clients_are_told_to_wait(
    with_grpc: ApiSettings, start: Start, client: Client
) -> None:
    async with start(with_grpc):
        assert not (await client.ask("ServerReady", ServerReadyRequest())).ready
        assert not (await client.ask("ModelReady", ModelReadyRequest(name="iris"))).ready
        await client.refused("ModelInfer", with_values(), StatusCode.UNAVAILABLE, "no-model")


class Slow:
    """Predictions that wait.

    `begun`: how many have begun.
    `go`: what they wait for.
    """

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.begun = 0
        self.go = threading.Event()
        predict = Model.predict

        def wait(model: Model, table: Any) -> Any:
            self.begun += 1
            assert self.go.wait(ABSENT)
            return predict(model, table)

        monkeypatch.setattr(Model, "predict", wait)
        monkeypatch.setattr(Model, "seconds", lambda _model, rows: float(rows))


@pytest.fixture
def slow(api: Client, monkeypatch: pytest.MonkeyPatch) -> Iterator[Slow]:
    slow = Slow(monkeypatch)
    yield slow
    slow.go.set()


async def test_a_deadline_that_passes_is_told_and_what_waits_is_not_computed(
    api: Client, slow: Slow
) -> None:
    calls = [api.call("ModelInfer", with_values(), timeout=0.5) for _ in range(30)]
    answers = await asyncio.gather(*calls)
    assert {answer.code for answer in answers} == {StatusCode.DEADLINE_EXCEEDED}
    begun = slow.begun
    assert begun < len(calls)
    slow.go.set()
    await api.ask("ModelInfer", with_values())
    assert slow.begun == begun + 1


async def test_more_than_a_model_can_answer_is_refused(
    registry: RegistryServer,
    with_grpc: ApiSettings,
    start: Start,
    models: Path,
    client: Client,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    registry.promote("iris", models / "linear")
    async with start(with_grpc.model_copy(update={"api_max_waiting": 1})) as http:
        await until_served(http, "1")
        slow = Slow(monkeypatch)
        calls = [asyncio.create_task(client.call("ModelInfer", with_values())) for _ in range(9)]
        await asyncio.wait(calls, return_when=asyncio.FIRST_COMPLETED)
        slow.go.set()
        answers = await asyncio.gather(*calls)
    refused = [answer for answer in answers if answer.code is not StatusCode.OK]
    assert 0 < len(refused) < len(calls)
    for answer in refused:
        assert answer.code is StatusCode.RESOURCE_EXHAUSTED
        assert answer.metadata["problem-type"] == "urn:tripod:problem:overloaded"
        assert answer.metadata["retry-after"] == "1"


async def test_a_prediction_that_takes_too_long_is_refused(
    registry: RegistryServer,
    with_grpc: ApiSettings,
    start: Start,
    models: Path,
    client: Client,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    registry.promote("iris", models / "linear")
    async with start(with_grpc.model_copy(update={"api_predict_timeout_seconds": 0.2})) as http:
        await until_served(http, "1")
        slow = Slow(monkeypatch)
        late = StatusCode.DEADLINE_EXCEEDED
        detail = await client.refused("ModelInfer", with_values(), late, "prediction-timeout")
        assert detail == "iris did not answer within 0.2 s"
        slow.go.set()


async def test_a_model_may_have_limits_of_its_own(
    registry: RegistryServer,
    with_grpc: ApiSettings,
    start: Start,
    models: Path,
    client: Client,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    registry.promote("iris", models / "linear")
    own = OwnLimits("iris", max_rows=1, timeout_seconds=0.2)
    async with start(with_grpc.model_copy(update={"model_limits": (own,)})) as http:
        await until_served(http, "1")
        many, late = StatusCode.INVALID_ARGUMENT, StatusCode.DEADLINE_EXCEEDED
        await client.refused("ModelInfer", with_values(rows=2), many, "too-many-rows")
        slow = Slow(monkeypatch)
        await client.refused("ModelInfer", with_values(), late, "prediction-timeout")
        slow.go.set()


async def test_probabilities_are_an_output_that_may_be_named(
    http: httpx.AsyncClient, client: Client
) -> None:
    request = with_values()
    request.outputs.add(name="predict_proba")
    request.outputs.add(name="predict")
    answer = await client.ask("ModelInfer", request)
    assert [output.name for output in answer.outputs] == ["predict_proba", "predict"]
    assert list(answer.outputs[0].shape) == [1, 3]
    row = dict(zip(IRIS, ROW, strict=True))
    plain = await http.post("/v1/models/iris/predict_proba", json={"rows": [row]})
    values = answer.outputs[0].contents.fp64_contents
    assert list(values) == pytest.approx(plain.json()["probabilities"][0])


async def test_a_host_that_stops_answers_what_was_asked(
    registry: RegistryServer,
    with_grpc: ApiSettings,
    start: Start,
    models: Path,
    client: Client,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    registry.promote("iris", models / "linear")
    async with start(with_grpc) as http:
        await until_served(http, "1")
        slow = Slow(monkeypatch)
        call = asyncio.create_task(client.call("ModelInfer", with_values()))
        await until(is_true(lambda: slow.begun))
        asyncio.get_running_loop().call_later(0.3, slow.go.set)
    assert (await call).code is StatusCode.OK
    assert (await client.call("ServerLive", ServerLiveRequest())).code is StatusCode.UNAVAILABLE


async def is_true_now(condition: Callable[[], Any]) -> Any:
    return condition()


def is_true(condition: Callable[[], Any]) -> Callable[[], Awaitable[Any]]:
    return lambda: is_true_now(condition)


def watch(client: Client, service: str = "") -> AsyncIterator[HealthCheckResponse]:
    method: Any = client.channel.unary_stream(
        "/grpc.health.v1.Health/Watch",
        request_serializer=HealthCheckRequest.SerializeToString,
        response_deserializer=HealthCheckResponse.FromString,
    )
    answers: AsyncIterator[HealthCheckResponse] = aiter(method(HealthCheckRequest(service=service)))
    return answers


async def test_health_as_grpc_has_it_can_be_asked_and_watched(
    registry: RegistryServer,
    with_grpc: ApiSettings,
    start: Start,
    models: Path,
    client: Client,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(health, "SECONDS_BETWEEN_LOOKS", 0.05)
    check: Any = client.channel.unary_unary(
        "/grpc.health.v1.Health/Check",
        request_serializer=HealthCheckRequest.SerializeToString,
        response_deserializer=HealthCheckResponse.FromString,
    )
    async with start(with_grpc) as http:
        watcher = watch(client, SERVICE.full_name)
        assert (await anext(watcher)).status == HealthCheckResponse.NOT_SERVING
        registry.promote("iris", models / "linear")
        assert (await anext(watcher)).status == HealthCheckResponse.SERVING
        await until_served(http, "1")
        for service in ("", SERVICE.full_name):
            answer = await check(HealthCheckRequest(service=service))
            assert answer.status == HealthCheckResponse.SERVING
        with pytest.raises(grpc.aio.AioRpcError) as refused:
            await check(HealthCheckRequest(service="none"))
        assert refused.value.code() is StatusCode.NOT_FOUND
        unknown = await anext(watch(client, "none"))
        assert unknown.status == HealthCheckResponse.SERVICE_UNKNOWN


async def test_a_call_has_an_id_a_line_and_a_count(api: Client, http: httpx.AsyncClient) -> None:
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.INFO))
    with structlog.testing.capture_logs([merge_contextvars]) as lines:
        assert (await api.ask("ServerLive", ServerLiveRequest())).live
        answer = await api.call("ModelInfer", with_values(), metadata=[("x-request-id", "abc")])
        assert answer.metadata["x-request-id"] == "abc"
        answer = await api.call("ModelInfer", with_values(), metadata=[("x-request-id", "a b")])
        assert len(answer.metadata["x-request-id"]) == 32
        answer = await api.call("ModelInfer", ModelInferRequest(model_name="none"))
        assert len(answer.metadata["x-request-id"]) == 32
    found = [(line["status"], line["model"], line["version"]) for line in lines]
    assert found == [("OK", "iris", "2"), ("OK", "iris", "2"), ("NOT_FOUND", None, None)]
    assert lines[0]["request_id"] == "abc"
    assert lines[0]["path"] == "/inference.GRPCInferenceService/ModelInfer"
    metrics = (await http.get("/metrics")).text
    label = 'tripod_api_requests_total{method="gRPC",route="ModelInfer",status="NOT_FOUND"}'
    assert label in metrics


async def test_what_goes_wrong_here_is_said_without_its_details(
    api: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("api_host.v2.inference.describe", None)
    with structlog.testing.capture_logs() as lines:
        answer = await api.call("ModelMetadata", ModelMetadataRequest(name="iris"))
    assert answer.code is StatusCode.INTERNAL
    assert answer.metadata["x-request-id"] in answer.detail
    assert "NoneType" not in answer.detail
    assert [line["event"] for line in lines] == ["request failed"]


async def test_the_repository_is_listed_and_loaded_and_never_unloaded(api: Client) -> None:
    index = await api.ask("RepositoryIndex", RepositoryIndexRequest(ready=True))
    assert index == RepositoryIndexResponse(
        models=[
            {"name": "iris", "version": "2", "state": "READY"},
            {"name": "mixed", "version": "1", "state": "READY"},
        ]
    )
    load = RepositoryModelLoadRequest(model_name="iris")
    assert await api.ask("RepositoryModelLoad", load) == RepositoryModelLoadResponse()
    load.parameters["config"].string_param = "{}"
    wrong = StatusCode.INVALID_ARGUMENT
    detail = await api.refused("RepositoryModelLoad", load, wrong, "invalid-input")
    assert detail.startswith("/parameters")
    missing = RepositoryModelLoadRequest(model_name="none")
    await api.refused("RepositoryModelLoad", missing, StatusCode.NOT_FOUND, "unknown-model")
    unload = RepositoryModelUnloadRequest(model_name="iris")
    never = StatusCode.FAILED_PRECONDITION
    detail = await api.refused("RepositoryModelUnload", unload, never, "registry-decides")
    assert "MODEL_NAMES" in detail


async def test_a_host_without_the_setting_opens_no_port(
    settings: ApiSettings, start: Start, client: Client
) -> None:
    async with start(settings):
        answer = await client.call("ServerLive", ServerLiveRequest())
        assert answer.code is StatusCode.UNAVAILABLE


def test_grpc_is_imported_where_it_is_wanted_only() -> None:
    code = f"import sys, {serve.__name__}; sys.exit('grpc' in sys.modules)"
    subprocess.run([sys.executable, "-c", code], check=True, env={"PYTHONPATH": ":".join(sys.path)})
