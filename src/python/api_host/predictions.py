"""Predictions and what is served: `/v1/models` and MLflow's `/invocations`."""

import asyncio
from collections.abc import Callable
from typing import Any

from starlette.requests import Request
from starlette.responses import Response

from api_host.bodies import read_body
from api_host.catalog import Served
from api_host.documents import json_response
from api_host.errors import ModelRefusedError, NotRegisteredError, RegistryAwayError
from api_host.host import Host, host_of
from api_host.problems import (
    MODEL_REFUSED,
    NO_MODEL,
    PREDICTION_TIMEOUT,
    REGISTRY_AWAY,
    UNKNOWN_MODEL,
    Problem,
)

RETRY_SECONDS = 5
"""When a caller may ask again for what is not here yet: by then the registry was polled again."""


async def list_models(request: Request) -> Response:
    """`GET /v1/models`."""
    host = host_of(request)
    return json_response({"models": [_summary(host, name) for name in host.catalog.names()]})


async def get_model(request: Request) -> Response:
    """`GET /v1/models/{name}`."""
    host = host_of(request)
    name = request.path_params["name"]
    if name not in host.catalog.names():
        raise Problem(UNKNOWN_MODEL, f"{name} is not served")
    document = _summary(host, name)
    served = host.catalog.champions.get(name)
    if served:
        version = served.version
        document |= {
            "signature": {"inputs": served.model.inputs, "outputs": served.model.outputs},
            "metrics": version.metrics,
            "tags": version.tags,
        }
    return json_response(document)


async def predict(request: Request) -> Response:
    """`POST /v1/models/{name}/predict`, also by alias and by version."""
    host = host_of(request)
    served = await _find(host, **request.path_params)
    request.state.served = served.version
    body = await _body(host, request)
    content_type = request.headers.get("Content-Type", "")
    rows = host.settings.api_max_rows

    def answer() -> bytes:
        # Imported here, where a model is loaded: pandas is not needed before.
        from api_host.scoring import score  # noqa: PLC0415

        return score(served, body, content_type, most_rows=rows)

    return await _answered(host, served, answer)


async def _find(
    host: Host, name: str, alias: str | None = None, version: str | None = None
) -> Served:
    served = host.catalog.champions.get(name)
    if alias is not None and (served is None or alias != served.alias):
        version = host.catalog.aliases.get(name, {}).get(alias)
        if version is None:
            raise Problem(UNKNOWN_MODEL, f"{name} has no version with the alias {alias}")
    if version is not None and (served is None or version != served.version.version):
        return await _extra(host, name, version)
    if served is not None:
        return served
    catalog = host.catalog
    wanted = host.settings.model_alias in catalog.aliases.get(name, ())
    if wanted or name in catalog.problems or not catalog.recovered or catalog.seen is None:
        why = catalog.problems.get(name) or catalog.away or "it is being loaded"
        raise Problem(NO_MODEL, f"{name} is not served yet: {why}", retry_after=RETRY_SECONDS)
    raise Problem(UNKNOWN_MODEL, f"the registry has no {name} with the alias that is served")


async def _extra(host: Host, name: str, version: str) -> Served:
    try:
        return await host.extras.get(name, version)
    except NotRegisteredError:
        raise Problem(UNKNOWN_MODEL, f"the registry has no version {version} of {name}") from None
    except ModelRefusedError as error:
        raise Problem(MODEL_REFUSED, f"{name} version {version} is not served: {error}") from None
    except RegistryAwayError as error:
        raise Problem(REGISTRY_AWAY, str(error), retry_after=RETRY_SECONDS) from None


async def _body(host: Host, request: Request) -> bytes:
    return await read_body(
        request,
        most_bytes=host.settings.api_max_body_bytes,
        timeout_seconds=host.settings.api_read_timeout_seconds,
    )


async def _answered(host: Host, served: Served, answer: Callable[[], bytes]) -> Response:
    seconds = host.settings.api_predict_timeout_seconds
    loop = asyncio.get_running_loop()
    try:
        content = await asyncio.wait_for(loop.run_in_executor(host.threads, answer), seconds)
    except TimeoutError:
        raise Problem(
            PREDICTION_TIMEOUT,
            f"{served.version.name} did not answer within {seconds:g} s",
            retry_after=RETRY_SECONDS,
        ) from None
    model = f"{served.version.name}/{served.version.version}"
    return Response(content, 200, {"Tripod-Model": model}, "application/json")


def _summary(host: Host, name: str) -> dict[str, Any]:
    served = host.catalog.champions.get(name)
    return {
        "name": name,
        "version": served.version.version if served else None,
        "alias": host.settings.model_alias,
        "ready": served is not None,
        "run_id": served.version.run_id if served else None,
        "since": served.since if served else None,
        "problem": host.catalog.problems.get(name),
        "registry": host.catalog.away or "answers",
    }
