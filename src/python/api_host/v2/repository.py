"""`/v2/repository`: what could be served and why it is not; the registry decides what is."""

import asyncio
from collections.abc import Iterable
from typing import Final, NoReturn

from starlette.requests import Request
from starlette.responses import Response

from api_host.answers import RepositoryEntry
from api_host.auth.layer import note_change
from api_host.bodies import read_body
from api_host.documents import Document, decode_document, json_response
from api_host.errors import ModelRefusedError, NotRegisteredError, RegistryAwayError
from api_host.host import Host, catalog_of, host_of
from api_host.models.catalog import Catalog
from api_host.predictions import RETRY_SECONDS
from api_host.problems import (
    MODEL_REFUSED,
    NO_MODEL,
    REGISTRY_AWAY,
    REGISTRY_DECIDES,
    UNKNOWN_MODEL,
    Problem,
)
from api_host.questions import IndexRequest, LoadRequest

READY: Final = "READY"
LOAD_SECONDS = 30.0
"""How long a caller waits for a model that is being loaded; it is loaded all the same."""


async def index(request: Request) -> Response:
    """`POST /v2/repository/index`."""
    only_ready = (await _read(request, IndexRequest)).ready
    return json_response(entries(catalog_of(request), only_ready=only_ready))


async def load(request: Request) -> Response:
    """`POST /v2/repository/models/{name}/load`: asks the registry now, and not in a second."""
    await _read(request, LoadRequest)
    name = request.path_params["name"]
    note_change(request, "model.load", f"model:{name}")
    await load_model(host_of(request), name)
    return Response()


async def unload(request: Request) -> Response:
    """`POST /v2/repository/models/{name}/unload`, which this host does not do."""
    name = request.path_params["name"]
    note_change(request, "model.unload", f"model:{name}", allowed=False)
    refuse_unload(host_of(request), name)


def entries(catalog: Catalog, *, only_ready: bool) -> list[RepositoryEntry]:
    """Each model that is served or should be."""
    return [each for each in _entries(catalog) if not only_ready or each.state == READY]


async def load_model(host: Host, name: str) -> None:
    """Returns when the version of a model that the registry wants is served. Raises `Problem`."""
    try:
        async with asyncio.timeout(LOAD_SECONDS):
            problem = await host.follower.catch_up(name)
    except TimeoutError:
        detail = f"{name} is being loaded still"
        raise Problem(NO_MODEL, detail, retry_after=RETRY_SECONDS) from None
    except NotRegisteredError as error:
        raise Problem(UNKNOWN_MODEL, str(error)) from None
    except ModelRefusedError as error:
        raise Problem(MODEL_REFUSED, f"{name}: {error}") from None
    except RegistryAwayError as error:
        raise Problem(REGISTRY_AWAY, str(error), retry_after=RETRY_SECONDS) from None
    if problem is not None:
        raise Problem(NO_MODEL, f"{name}: {problem}", retry_after=RETRY_SECONDS)


def refuse_unload(host: Host, name: str) -> NoReturn:
    """Raises the `Problem` that says why a model is not unloaded, and what to do instead."""
    if name not in host.catalog.names():
        raise Problem(UNKNOWN_MODEL, f"{name} is not served")
    raise Problem(
        REGISTRY_DECIDES,
        f"{name} is served because the registry's alias {host.settings.model_alias} says so: move"
        " the alias to serve another version; to serve none, name only other models in"
        " MODEL_NAMES and restart this host",
    )


async def _read(request: Request, document: type[Document]) -> Document:
    host = host_of(request)
    body = await read_body(request, host.settings)
    return decode_document(body if body.strip() else b"{}", document, host.limits.bounds)


def _entries(catalog: Catalog) -> Iterable[RepositoryEntry]:
    for name in catalog.names():
        served, wanted = catalog.served.get(name), catalog.wanted.get(name)
        reason = catalog.problems.get(name, "")
        is_wanted = served is not None and wanted in (None, served.version.version)
        if served:
            why = reason if is_wanted else ""
            yield RepositoryEntry(name, served.version.version, READY, why)
        if not is_wanted:
            yield RepositoryEntry(name, wanted or "", "UNAVAILABLE", reason or "it is being loaded")
