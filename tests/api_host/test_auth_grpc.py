"""Who may do what over gRPC: the same as over HTTP."""

import logging
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import grpc
import httpx
import pytest
import structlog
from google.protobuf.message import Message
from google.protobuf.message_factory import GetMessageClass
from grpc import StatusCode
from grpc_health.v1.health_pb2 import HealthCheckRequest, HealthCheckResponse
from grpc_reflection.v1alpha import reflection_pb2
from structlog.testing import capture_logs

from api_host.auth.caller import Access
from api_host.auth.keys import Keyring
from api_host.auth.needs import Open
from api_host.rpc import health, needs, service
from api_host.rpc.open_inference_pb2 import (
    ModelMetadataRequest,
    ModelReadyRequest,
    RepositoryIndexRequest,
    RepositoryModelLoadRequest,
    ServerMetadataRequest,
)
from api_host.settings import ApiSettings
from tests.api_host.conftest import Start, until
from tests.api_host.registry_server import RegistryServer
from tests.api_host.test_auth import EVERYTHING, bearer, make_key
from tests.api_host.test_rpc import ABSENT, Client, free_port

pytestmark = pytest.mark.anyio

NONE, DENIED = StatusCode.UNAUTHENTICATED, StatusCode.PERMISSION_DENIED


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "keys.json"


@pytest.fixture
def texts(file: Path) -> dict[str, str]:
    """A key for each access, one for all, and one for a model."""
    found = {access.value: make_key(file, access.value, access) for access in Access}
    found["boss"] = make_key(file, "boss", *EVERYTHING)
    found["shop"] = make_key(file, "shop", *EVERYTHING, models=("iris",))
    return found


@pytest.fixture
async def api(
    registry: RegistryServer,
    settings: ApiSettings,
    start: Start,
    models: Path,
    file: Path,
    texts: dict[str, str],
) -> AsyncIterator[Client]:
    for name in ("iris", "churn"):
        registry.promote(name, models / "linear")
    locked = {"api_auth": "yes", "api_keys_file": file, "api_grpc_port": free_port()}
    settings = settings.model_copy(update=locked)
    async with (
        start(settings) as http,
        grpc.aio.insecure_channel(f"127.0.0.1:{settings.api_grpc_port}") as channel,
    ):
        await until(lambda: _both(http, texts["boss"]))
        yield Client(channel)


async def _both(http: httpx.AsyncClient, text: str) -> bool:
    models = (await http.get("/v1/models", headers=bearer(text))).json()["models"]
    return [model["ready"] for model in models] == [True, True]


def with_key(text: str) -> dict[str, Any]:
    return {"metadata": (("authorization", f"Bearer {text}"),)}


def empty(name: str, model: str = "iris") -> Message:
    request = GetMessageClass(service.SERVICE.methods_by_name[name].input_type)()
    for field in ("name", "model_name"):
        if field in request.DESCRIPTOR.fields_by_name:
            setattr(request, field, model)
    return request


SERVICES = reflection_pb2.ServerReflectionRequest(list_services="")


def reflection_of(api: Client) -> Any:
    return api.channel.stream_stream(
        "/grpc.reflection.v1alpha.ServerReflection/ServerReflectionInfo",
        request_serializer=reflection_pb2.ServerReflectionRequest.SerializeToString,
        response_deserializer=reflection_pb2.ServerReflectionResponse.FromString,
    )


def watch_of(api: Client) -> Any:
    return api.channel.unary_stream(
        "/grpc.health.v1.Health/Watch",
        request_serializer=HealthCheckRequest.SerializeToString,
        response_deserializer=HealthCheckResponse.FromString,
    )


def test_every_method_says_what_it_needs_and_nothing_else_does() -> None:
    methods = [*service.SERVICE.methods]
    methods += [health.SERVICE.methods_by_name[name] for name in ("Check", "Watch")]
    assert needs.NEEDS.keys() == {method.full_name for method in methods}
    assert Open.TO_ALL not in needs.NEEDS.values()


async def test_each_access_opens_its_methods_and_no_others(
    api: Client, texts: dict[str, str]
) -> None:
    for method in service.SERVICE.methods:
        need = needs.need_of(method)
        request = empty(method.name)
        await api.refused(method.name, request, NONE, "unauthenticated")
        for text in ("nonsense", texts["boss"][:-1]):
            await api.refused(method.name, request, NONE, "unauthenticated", **with_key(text))
        for access in Access:
            answer = await api.call(method.name, request, **with_key(texts[access]))
            may = isinstance(need, Open) or need is access
            assert (answer.code is DENIED) != may, (method.name, access, answer)
            assert answer.code is not NONE


async def test_a_key_may_be_in_either_metadata(api: Client, texts: dict[str, str]) -> None:
    text = texts["predict"]
    for metadata in ((("x-api-key", text),), (("authorization", f"bearer {text}"),)):
        answer = await api.call("RepositoryIndex", RepositoryIndexRequest(), metadata=metadata)
        assert answer.code is StatusCode.OK
    several = (("x-api-key", text), ("x-api-key", texts["train"]))
    answer = await api.call("RepositoryIndex", RepositoryIndexRequest(), metadata=several)
    assert answer.code is NONE


async def test_a_key_for_some_models_sees_and_asks_no_others(
    api: Client, texts: dict[str, str]
) -> None:
    key = with_key(texts["shop"])
    index = await api.call("RepositoryIndex", RepositoryIndexRequest(), **key)
    assert [model.name for model in index.message.models] == ["iris"]
    assert (await api.call("ModelReady", ModelReadyRequest(name="iris"), **key)).message.ready
    names = [method.name for method in service.SERVICE.methods]
    for name in [name for name in names if name.startswith(("Model", "RepositoryModel"))]:
        details = [
            (await api.refused(name, empty(name, model), DENIED, "forbidden", **key))
            for model in ("churn", "none")
        ]
        assert details[0] == details[1].replace("none", "churn")


async def test_health_answers_any_caller_and_no_stranger(
    api: Client, texts: dict[str, str]
) -> None:
    check: Any = api.channel.unary_unary(
        "/grpc.health.v1.Health/Check",
        request_serializer=HealthCheckRequest.SerializeToString,
        response_deserializer=HealthCheckResponse.FromString,
    )
    for ask in (check, lambda *args, **more: watch_of(api)(*args, **more).read()):
        with pytest.raises(grpc.aio.AioRpcError) as error:
            await ask(HealthCheckRequest(), timeout=ABSENT)
        assert error.value.code() is NONE
        answer = await ask(HealthCheckRequest(), timeout=ABSENT, **with_key(texts["train"]))
        assert answer.status == HealthCheckResponse.SERVING


async def test_reflection_answers_any_caller_and_no_stranger(
    api: Client, texts: dict[str, str]
) -> None:
    reflect = reflection_of(api)
    with pytest.raises(grpc.aio.AioRpcError) as error:
        await reflect(iter([SERVICES]), timeout=ABSENT).read()
    assert error.value.code() is NONE
    call = reflect(iter([SERVICES]), timeout=ABSENT, **with_key(texts["train"]))
    assert len((await call.read()).list_services_response.service) > 1


async def test_who_watches_the_health_is_told_no_more_once_the_key_is_revoked(
    api: Client, texts: dict[str, str], file: Path
) -> None:
    call = watch_of(api)(HealthCheckRequest(), timeout=ABSENT, **with_key(texts["train"]))
    assert (await call.read()).status == HealthCheckResponse.SERVING
    Keyring(file).revoke("train")
    with pytest.raises(grpc.aio.AioRpcError) as error:
        await call.read()
    assert error.value.code() is NONE


async def test_a_stream_of_reflection_answers_no_more_once_its_key_is_revoked(
    api: Client, texts: dict[str, str], file: Path
) -> None:
    call = reflection_of(api)(timeout=ABSENT, **with_key(texts["train"]))
    await call.write(SERVICES)
    assert (await call.read()).list_services_response.service
    Keyring(file).revoke("train")

    async def is_unknown() -> bool:
        key = with_key(texts["train"])
        return (await api.call("ServerMetadata", ServerMetadataRequest(), **key)).code is NONE

    await until(is_unknown)
    await call.write(SERVICES)
    with pytest.raises(grpc.aio.AioRpcError) as error:
        await call.read()
    assert error.value.code() is NONE


async def test_calls_name_their_caller_and_address_and_changes_are_audited(
    api: Client, texts: dict[str, str]
) -> None:
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.INFO))
    load = RepositoryModelLoadRequest(model_name="iris")
    with capture_logs() as lines:
        await api.call("RepositoryModelLoad", load, **with_key(texts["operate"]))
        await api.call("RepositoryModelLoad", load, **with_key(texts["predict"]))
        await api.call("RepositoryModelLoad", load)
        await api.call("ModelMetadata", ModelMetadataRequest(name="iris"), **with_key("nonsense"))
    audited = [
        (line["action"], line["who"], line["address"], line["allowed"])
        for line in lines
        if line["event"] == "audit"
    ]
    assert audited == [
        ("model.load", "key:operate", "127.0.0.1", True),
        ("model.load", "key:predict", "127.0.0.1", False),
        ("model.load", "address:127.0.0.1", "127.0.0.1", False),
    ]
    callers = [line["caller"] for line in lines if line["event"] == "request"]
    assert callers == ["key:operate", "key:predict", *["address:127.0.0.1"] * 2]
    assert not any(text in str(lines) for text in texts.values())
