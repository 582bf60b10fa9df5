"""The way from a path to the function that answers it."""

from collections.abc import Awaitable, Callable, Sequence
from functools import lru_cache
from typing import Any, TypeAlias

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Match, Route, Router
from starlette.types import Receive, Scope, Send

Endpoint: TypeAlias = Callable[[Request], Awaitable[Response]]

REMEMBERED = 1000
"""Paths that are found without a look at each route."""


class Routing:
    """Starlette's routes, for functions that take a request and give a response.

    Starlette tries one route after the other and catches exceptions at each of its layers: half of
    what a prediction takes. Paths are asked again and again, and exceptions are caught once.
    """

    def __init__(self, router: Router, routes: Sequence[Route]) -> None:
        self._router = router
        self._routes = routes
        self._find = lru_cache(REMEMBERED)(self._look_up)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answers one request. What is no path, or has another method, is Starlette's to refuse."""
        found = self._find(scope["method"], scope["path"]) if scope["type"] == "http" else None
        if found is None:
            await self._router(scope, receive, send)
            return
        scope["endpoint"] = endpoint = found[0]
        scope["path_params"] = found[1].copy()
        response = await endpoint(Request(scope, receive, send))
        await response(scope, receive, send)

    def _look_up(self, method: str, path: str) -> tuple[Endpoint, dict[str, Any]] | None:
        scope = {"type": "http", "method": method, "path": path}
        for route in self._routes:
            match, found = route.matches(scope)
            if match is Match.FULL:
                return route.endpoint, found["path_params"]
        return None
