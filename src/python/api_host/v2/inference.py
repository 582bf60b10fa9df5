"""`/v2`, the Open Inference Protocol: this host, its models, and predictions from tensors."""

from starlette.requests import Request
from starlette.responses import Response

from api_host.access import note_served
from api_host.answers import ModelMetadata, ModelReady, ServerLive, ServerMetadata, ServerReady
from api_host.documents import json_response
from api_host.health import check_ready
from api_host.host import Host, host_of
from api_host.models.catalog import Served
from api_host.predictions import answer, find
from hostkit import release

EXTENSIONS = ("binary_tensor_data", "model_repository")


async def get_server(request: Request) -> Response:
    """`GET /v2`."""
    name = host_of(request).settings.host_name
    return json_response(ServerMetadata(name, release.VERSION, list(EXTENSIONS)))


async def is_live(_: Request) -> Response:
    """`GET /v2/health/live`: the process is up."""
    return json_response(ServerLive())


async def is_ready(request: Request) -> Response:
    """`GET /v2/health/ready`: predictions can be made."""
    check_ready(request)
    return json_response(ServerReady())


async def get_model(request: Request) -> Response:
    """`GET /v2/models/{name}`, also by version."""
    host = host_of(request)
    served = await find(host, **request.path_params)
    note_served(request, served.version)
    return json_response(describe(host, served))


async def is_model_ready(request: Request) -> Response:
    """`GET /v2/models/{name}/ready`, also by version: one that is not loaded yet is loaded."""
    served = await find(host_of(request), **request.path_params)
    note_served(request, served.version)
    return json_response(ModelReady(served.version.name))


async def infer(request: Request) -> Response:
    """`POST /v2/models/{name}/infer`, also by version."""
    host = host_of(request)
    served = await find(host, **request.path_params)
    return await answer(request, host, served, "infer")


def describe(host: Host, served: Served) -> ModelMetadata:
    """The metadata of a model."""
    # Imported here, where a model is loaded already: see predictions.
    from api_host.v2 import columns  # noqa: PLC0415

    name, model = served.version.name, served.model
    # Any version can be asked for; these are the ones that have a reason to be.
    known = {served.version.version, *host.catalog.aliases.get(name, {}).values()}
    return ModelMetadata(
        name,
        sorted(known, key=int),
        model.platform,
        columns.describe_inputs(model.signature),
        model.tensors or columns.describe_outputs(model.outputs),
    )
