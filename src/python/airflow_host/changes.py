"""One audit line for each change that is asked for by Airflow's REST API or its pages."""

from http import HTTPStatus

import structlog
from airflow.api_fastapi.app import get_auth_manager
from starlette.requests import Request
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from hostkit import audit

_READS = frozenset({"GET", "HEAD", "OPTIONS"})
_PREFIXES = ("/api/v2/", "/auth/fab/v1/")
_REFUSED = (HTTPStatus.UNAUTHORIZED, HTTPStatus.FORBIDDEN)
_TOKEN_OF_PAGES = "_token"  # noqa: S105 (the name of a cookie)

_log = structlog.get_logger(__name__)


class Changes:
    """ASGI middleware: writes who asked for which change, and whether they were allowed to."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Passes the request on, and writes the line when the answer begins."""
        if not _is_change(scope):
            await self._app(scope, receive, send)
            return

        async def told(message: Message) -> None:
            if message["type"] == "http.response.start":
                await _note(Request(scope), message["status"])
            await send(message)

        await self._app(scope, receive, told)


def _is_change(scope: Scope) -> bool:
    if scope["type"] != "http" or scope["method"] in _READS:
        return False
    return str(scope["path"].removeprefix(scope.get("root_path", ""))).startswith(_PREFIXES)


async def _note(request: Request, status: int) -> None:
    action = f"airflow.{request.method.lower()}"
    address = request.client.host if request.client else None
    allowed = status not in _REFUSED
    audit.note(action, request.url.path, who=await _who(request), address=address, allowed=allowed)


async def _who(request: Request) -> str:
    """The user, if the request's token is Airflow's own."""
    scheme, _, token = request.headers.get("Authorization", "").partition(" ")
    if scheme.lower() != "bearer":
        token = request.cookies.get(_TOKEN_OF_PAGES, "")
    if not token:
        return "unknown"
    try:
        user = await get_auth_manager().get_user_from_token(token)
    except Exception as error:  # noqa: BLE001 - whatever is wrong with it, there is no user
        _log.debug("no user", error=type(error).__name__)
        return "unknown"
    return f"user:{user.get_name()}"
