"""The layer of the application that asks who is there, before a body is read or a path followed."""

from collections.abc import Callable, Sequence

from starlette.requests import Request
from starlette.routing import Route
from starlette.types import ASGIApp, Receive, Scope, Send

from api_host.auth import credentials
from api_host.auth.caller import Caller
from api_host.auth.guard import NOWHERE, Guard
from api_host.auth.needs import Open, Way, ways
from api_host.problems import Problem
from hostkit import audit


class AuthLayer:
    """Gives each request its caller, or refuses it.

    `guard`: the one of the host, once it runs.
    """

    def __init__(self, app: ASGIApp, routes: Sequence[Route], guard: Callable[[], Guard]) -> None:
        self._app = app
        self._way = ways(routes)
        self._guard = guard

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answers one request. Raises `Problem`."""
        if scope["type"] == "http":
            guard = self._guard()
            way = self._way(scope["method"], scope["path"])
            stranger = guard.stranger(address_of(scope))
            state = scope["state"]
            state["caller"] = stranger
            if guard.is_on:
                try:
                    state["caller"] = caller = await _caller(guard, scope, way, stranger)
                    guard.allow(caller, way.need, way.model)
                except Problem:
                    _note_refusal(scope, way)
                    raise
        await self._app(scope, receive, send)


def address_of(scope: Scope) -> str:
    """The address that a request comes from."""
    client = scope["client"]
    return client[0] if client else NOWHERE


def note_change(request: Request, action: str, on: str, *, allowed: bool = True) -> None:
    """Writes an audit line for what a request changes."""
    scope = request.scope
    who = scope["state"]["caller"].name
    audit.note(action, on, who=who, address=address_of(scope), allowed=allowed)


async def _caller(guard: Guard, scope: Scope, way: Way, stranger: Caller) -> Caller:
    if way.need is Open.TO_ALL:
        # What probes a host is answered, whatever it shows.
        try:
            shown = credentials.of_headers(scope["headers"])
            return (shown and guard.known(shown)) or stranger
        except Problem:
            return stranger
    shown = credentials.of_headers(scope["headers"])
    return (shown and guard.known(shown)) or await guard.check(shown)


def _note_refusal(scope: Scope, way: Way) -> None:
    if way.change is not None and scope["method"] == "POST":
        on = "training" if way.model is None else f"model:{way.model}"
        who = scope["state"]["caller"].name
        audit.note(way.change, on, who=who, address=address_of(scope), allowed=False)
