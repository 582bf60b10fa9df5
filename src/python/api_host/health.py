"""How this host is: `/`, `/livez`, `/readyz`."""

from starlette.requests import Request
from starlette.responses import HTMLResponse, Response

from api_host import page
from api_host.answers import (
    HostHealth,
    HostState,
    LinkState,
    Live,
    ModelState,
    Ready,
    ReadyOnly,
)
from api_host.auth.caller import Access, caller_of
from api_host.documents import json_response
from api_host.host import Host, catalog_of, host_of
from api_host.models.catalog import Catalog
from api_host.problems import NO_MODEL, Problem
from hostkit import release
from hostkit.servers import MLFLOW

RETRY_SECONDS = 5
SCORING_PROTOCOL = "3.17.2"
"""The release of MLflow that /invocations answers like."""


async def home(request: Request) -> Response:
    """`GET /`: this host and its links; a page for a browser. Only operators see more than how."""
    document: HostState | HostHealth = describe(host_of(request))
    if Access.OPERATE not in caller_of(request).access:
        document = HostHealth(document.status, document.host)
    if "text/html" in request.headers.get("Accept", ""):
        headers = {**page.headers(page.STYLE), "Vary": "Accept, Authorization"}
        return HTMLResponse(page.render(document), headers=headers)
    return json_response(document, headers={"Vary": "Accept"})


async def livez(_: Request) -> Response:
    """`GET /livez`: the process is up."""
    return json_response(Live())


async def readyz(request: Request) -> Response:
    """`GET /readyz`: predictions can be made."""
    check_ready(request)
    if not caller_of(request).access:
        return json_response(ReadyOnly())
    catalog = catalog_of(request)
    models = {name: served.version.version for name, served in catalog.served.items()}
    return json_response(Ready(models))


async def ping(request: Request) -> Response:
    """`GET /ping` and `GET /health`, as MLflow's scoring server answers them."""
    check_ready(request)
    return Response("\n", media_type="application/json")


async def version(_: Request) -> Response:
    """`GET /version`: the MLflow whose scoring protocol this host speaks."""
    return Response(SCORING_PROTOCOL, media_type="application/json")


def check_ready(request: Request) -> None:
    """Raises `Problem` as long as no predictions can be made."""
    host = host_of(request)
    if not host.catalog.ready:
        known = Access.OPERATE in caller_of(request).access
        why = _why_not_ready(host) if known else "no predictions can be made yet"
        raise Problem(NO_MODEL, why, retry_after=RETRY_SECONDS)


def describe(host: Host) -> HostState:
    """What there is to say of this host."""
    catalog = host.catalog
    links = {link.name: _link(host, link.name, link.url) for link in host.links.links}
    unwell = catalog.problems or host.guard.problems or host.guard.is_without_callers
    well = catalog.ready and not unwell and all(link.healthy for link in links.values())
    return HostState(
        status="ok" if well else "degraded" if catalog.ready else "waiting",
        detail=None if catalog.ready else _why_not_ready(host),
        host=host.settings.host_name,
        version=release.VERSION,
        models=[_model(catalog, name) for name in catalog.names()],
        links=links,
        auth=host.guard.is_on,
        auth_problems=host.guard.problems,
    )


def sentence(host: Host) -> str:
    """How this host is, in one line."""
    served = sorted(host.catalog.served.items())
    serving = ", ".join(f"{name} {each.version.version}" for name, each in served)
    links = [f"{link.name} {_how(host, link.name)}" for link in host.links.links]
    return "; ".join([f"serving {serving}" if serving else _why_not_ready(host), *links])


def _how(host: Host, name: str) -> str:
    checked = host.links.states.get(name)
    return (
        "is not checked yet" if checked is None else "is well" if checked[0].healthy else "is away"
    )


def _model(catalog: Catalog, name: str) -> ModelState:
    served = catalog.served.get(name)
    version = served.version.version if served else None
    return ModelState(name, version, catalog.problems.get(name))


def _link(host: Host, name: str, url: str) -> LinkState:
    checked = host.links.states.get(name)
    if checked is None:
        return LinkState(url, healthy=False, detail="not checked yet", checked=None)
    state, moment = checked
    refused = host.catalog.away if name == MLFLOW.name else None
    if state.healthy and refused is not None:  # It is well, and does not answer us all the same.
        return LinkState(url, healthy=False, detail=refused, checked=moment)
    return LinkState(url, state.healthy, state.detail, moment)


def _why_not_ready(host: Host) -> str:
    catalog = host.catalog
    if not catalog.recovered:
        return "the last good copies are being loaded"
    if catalog.away is not None:
        return f"the registry is away and there is no last good copy: {catalog.away}"
    if catalog.problems:
        return "; ".join(f"{name}: {why}" for name, why in sorted(catalog.problems.items()))
    alias = host.settings.model_alias
    return f"no model in the registry has the alias {alias} yet; POST /v1/trainings makes one"
