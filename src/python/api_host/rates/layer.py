"""The layer of the application that holds callers to what they may ask."""

from starlette.requests import Request
from starlette.types import ASGIApp, Receive, Scope, Send

from api_host.host import Host
from api_host.rates.limiter import Visit

HEALTH = frozenset(
    {"/", "/livez", "/readyz", "/ping", "/health", "/v2/health/live", "/v2/health/ready"}
)
"""The paths that are never limited: a busy host must not look like one that is down."""


class RatesLayer:
    """Counts requests, and refuses those that are too many."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answers one request. Raises `Problem`."""
        if scope["type"] != "http" or scope["path"] in HEALTH:
            await self._app(scope, receive, send)
            return
        host: Host = scope["app"].state.host
        state = scope["state"]
        state["visit"] = visit = host.limiter.visit(state["caller"])
        try:
            await visit.enter()
            await self._app(scope, receive, send)
        finally:
            visit.leave()


def visit_of(request: Request) -> Visit:
    """What counts a request that is limited."""
    visit: Visit = request.scope["state"]["visit"]
    return visit
