"""The layer of the application that asks who is there, before a body is read or a path followed."""

from collections.abc import Callable, Sequence

from starlette.requests import Request
from starlette.routing import Route
from starlette.types import ASGIApp, Receive, Scope, Send

from api_host.auth import credentials
from api_host.auth.caller import Access, Caller
from api_host.auth.guard import NOWHERE
from api_host.auth.needs import Open, Way, ways
from api_host.auth.refusals import BASIC_CHALLENGE, CHALLENGE
from api_host.host import Host, host_of
from api_host.problems import UNAUTHENTICATED, Problem
from hostkit import audit


class AuthLayer:
    """Gives each request its caller, or refuses it.

    `host`: gives the one that has the application, once it runs.
    """

    def __init__(self, app: ASGIApp, routes: Sequence[Route], host: Callable[[], Host]) -> None:
        self._app = app
        self._way = ways(routes)
        self._host = host

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answers one request. Raises `Problem`."""
        if scope["type"] == "http":
            host = self._host()
            guard = host.guard
            way = self._way(scope["method"], scope["path"])
            stranger = guard.stranger(address_of(scope))
            state = scope["state"]
            state["caller"] = stranger
            if guard.is_on:
                try:
                    state["caller"] = caller = await _caller(host, scope, way, stranger)
                    guard.allow(caller, way.need, way.model)
                except Problem as problem:
                    if problem.kind is UNAUTHENTICATED and _is_for_a_page(scope):
                        problem.further_headers = ((CHALLENGE, BASIC_CHALLENGE),)
                    _note_refusal(scope, way)
                    await _count(host, scope)
                    raise
        await self._app(scope, receive, send)


def address_of(scope: Scope) -> str:
    """The address that a request comes from."""
    client = scope["client"]
    return client[0] if client else NOWHERE


async def check_again(request: Request, model: str) -> None:
    """Returns if whoever asked this may still ask that model. Raises `Problem`.

    For requests that last: a key may be revoked meanwhile, and a token end.
    """
    guard = host_of(request).guard
    if not guard.is_on:
        return
    shown = credentials.of_headers(request.scope["headers"], request.method)
    caller = (shown and guard.known(shown)) or await guard.check(shown)
    guard.allow(caller, Access.PREDICT, model)


def note_change(request: Request, action: str, on: str, *, allowed: bool = True) -> None:
    """Writes an audit line for what a request changes."""
    scope = request.scope
    who = scope["state"]["caller"].name
    audit.note(action, on, who=who, address=address_of(scope), allowed=allowed)


async def _caller(host: Host, scope: Scope, way: Way, stranger: Caller) -> Caller:
    guard = host.guard
    if way.need is Open.TO_ALL:
        # What probes a host is answered, whatever it shows.
        try:
            shown = credentials.of_headers(scope["headers"], scope["method"])
            return (shown and guard.known(shown)) or stranger
        except Problem:
            return stranger
    shown = credentials.of_headers(scope["headers"], scope["method"])
    if known := shown and guard.known(shown):
        return known
    async with host.limiter.refuse_guesses(address_of(scope)):
        return await guard.check(shown)


def _is_for_a_page(scope: Scope) -> bool:
    """Whether a browser asks for what it shows; programs see no challenge but theirs."""
    return scope["method"] in credentials.READING and any(
        name == b"accept" and b"text/html" in value for name, value in scope["headers"]
    )


async def _count(host: Host, scope: Scope) -> None:
    """Counts a request that is refused here. Raises `Problem` where there were too many."""
    state = scope["state"]
    state["visit"] = visit = host.limiter.visit(state["caller"])
    try:
        await visit.enter()
    finally:
        visit.leave()


def _note_refusal(scope: Scope, way: Way) -> None:
    if way.change is not None and scope["method"] == "POST":
        on = "training" if way.model is None else f"model:{way.model}"
        who = scope["state"]["caller"].name
        audit.note(way.change, on, who=who, address=address_of(scope), allowed=False)
