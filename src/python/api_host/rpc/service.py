"""The methods of the Open Inference Protocol v2 over gRPC: the same answers as over HTTP."""

from functools import partial

import msgspec

from api_host.auth.caller import Access
from api_host.models.catalog import Served
from api_host.predictions import find, respond
from api_host.problems import Mistake, Problem, invalid_input
from api_host.rpc.calls import Behaviour, Call, Calls, Handler
from api_host.rpc.open_inference_pb2 import (
    DESCRIPTOR,
    ModelInferRequest,
    ModelInferResponse,
    ModelMetadataRequest,
    ModelMetadataResponse,
    ModelReadyRequest,
    ModelReadyResponse,
    RepositoryIndexRequest,
    RepositoryIndexResponse,
    RepositoryModelLoadRequest,
    RepositoryModelLoadResponse,
    RepositoryModelUnloadRequest,
    RepositoryModelUnloadResponse,
    ServerLiveRequest,
    ServerLiveResponse,
    ServerMetadataRequest,
    ServerMetadataResponse,
    ServerReadyRequest,
    ServerReadyResponse,
)
from api_host.v2 import inference, repository
from hostkit import release

SERVICE = DESCRIPTOR.services_by_name["GRPCInferenceService"]
EXTENSIONS = ("model_repository",)


def handlers(calls: Calls) -> dict[str, Handler]:
    """What gRPC is to do with calls of each method."""
    return {each.name: calls.handler(each, BEHAVIOURS[each.name]) for each in SERVICE.methods}


async def server_live(_call: Call, _request: ServerLiveRequest) -> ServerLiveResponse:
    """The process is up."""
    return ServerLiveResponse(live=True)


async def server_ready(call: Call, _request: ServerReadyRequest) -> ServerReadyResponse:
    """Whether predictions can be made."""
    return ServerReadyResponse(ready=call.host.catalog.ready)


async def model_ready(call: Call, request: ModelReadyRequest) -> ModelReadyResponse:
    """Whether a model predicts: one that is not loaded yet is loaded. It is no error if not."""
    call.host.guard.allow(call.caller, Access.PREDICT, request.name)
    try:
        await _find(call, request.name, request.version)
    except Problem:
        return ModelReadyResponse(ready=False)
    return ModelReadyResponse(ready=True)


async def server_metadata(call: Call, _request: ServerMetadataRequest) -> ServerMetadataResponse:
    """What this host is."""
    return ServerMetadataResponse(
        name=call.host.settings.host_name, version=release.VERSION, extensions=EXTENSIONS
    )


async def model_metadata(call: Call, request: ModelMetadataRequest) -> ModelMetadataResponse:
    """A model's tensors."""
    served = await _find(call, request.name, request.version)
    return ModelMetadataResponse(**msgspec.to_builtins(inference.describe(call.host, served)))


async def model_infer(call: Call, request: ModelInferRequest) -> ModelInferResponse:
    """Predictions from tensors."""
    served = await _find(call, request.model_name, request.model_version)
    # Imported here, where a model is loaded already: see predictions.
    from api_host.rpc import scoring  # noqa: PLC0415

    limits = call.host.limits.of(served.version.name)
    bounds = call.host.limits.bounds_of(served.version.name)
    seconds = limits.timeout_seconds
    if call.seconds_left is not None:
        seconds = min(seconds, call.seconds_left)

    return await respond(
        call.host,
        served,
        partial(scoring.infer, served, request, bounds=bounds),
        size=request.ByteSize(),
        seconds=seconds,
        visit=call.visit,
        # gRPC cancels this whole call when its caller goes away.
        wait=lambda predictions: predictions,
    )


async def repository_index(call: Call, request: RepositoryIndexRequest) -> RepositoryIndexResponse:
    """What is served, what should be, and why it is not."""
    catalog = call.host.catalog.limited_to(call.caller.models)
    entries = repository.entries(catalog, only_ready=request.ready)
    return RepositoryIndexResponse(models=msgspec.to_builtins(entries))


async def repository_model_load(
    call: Call, request: RepositoryModelLoadRequest
) -> RepositoryModelLoadResponse:
    """Asks the registry now, and waits."""
    if request.parameters:
        detail = "must be empty: the registry says what a model is"
        raise invalid_input([Mistake("/parameters", detail)])
    call.host.guard.allow(call.caller, Access.OPERATE, request.model_name)
    call.note_change("model.load", f"model:{request.model_name}")
    await repository.load_model(call.host, request.model_name)
    return RepositoryModelLoadResponse()


async def repository_model_unload(
    call: Call, request: RepositoryModelUnloadRequest
) -> RepositoryModelUnloadResponse:
    """Is refused, and says what to do instead."""
    call.host.guard.allow(call.caller, Access.OPERATE, request.model_name)
    call.note_change("model.unload", f"model:{request.model_name}", allowed=False)
    repository.refuse_unload(call.host, request.model_name)


async def _find(call: Call, name: str, version: str) -> Served:
    call.host.guard.allow(call.caller, Access.PREDICT, name)
    served = await find(call.host, name, version=version or None)
    call.served = served.version
    return served


BEHAVIOURS: dict[str, Behaviour] = {
    "ServerLive": server_live,
    "ServerReady": server_ready,
    "ModelReady": model_ready,
    "ServerMetadata": server_metadata,
    "ModelMetadata": model_metadata,
    "ModelInfer": model_infer,
    "RepositoryIndex": repository_index,
    "RepositoryModelLoad": repository_model_load,
    "RepositoryModelUnload": repository_model_unload,
}
"""What each method does."""
