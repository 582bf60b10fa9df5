"""HTTP Basic on Airflow's API, which by itself takes only tokens since Airflow 3.

A middleware logs in for the client, at Airflow's own `/auth/token`, and passes the request on with
the token. Whether the user may do what the request asks for is decided where it always is.
"""

import base64
import binascii
import hashlib
import hmac
import os
from http import HTTPStatus

import httpx
from cachetools import TTLCache
from starlette.datastructures import Headers, MutableHeaders
from starlette.responses import JSONResponse
from starlette.types import ASGIApp, Receive, Scope, Send

SECONDS_TO_REMEMBER = 60
USERS_TO_REMEMBER = 256

_PROTECTED = ("/api/v2/", "/auth/fab/v1/")
"""Airflow's API, and the one of its users and roles."""

_OPEN = ("/api/v2/monitor/health", "/api/v2/version")
"""What needs no login must not fail because of a wrong one: runbooks check health there."""


class BasicAuth:
    """ASGI middleware: `Authorization: Basic` on an API becomes `Authorization: Bearer`.

    Checking a password is slow on purpose, so tokens are remembered for a minute, by a keyed hash
    of the credentials: the password itself is not kept.
    """

    def __init__(self, app: ASGIApp) -> None:
        self._app = app
        self._key = os.urandom(32)
        self._tokens: TTLCache[bytes, str] = TTLCache(USERS_TO_REMEMBER, SECONDS_TO_REMEMBER)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Passes the request on: as it is, with a token, or not at all."""
        credentials = _basic_credentials(scope)
        if credentials is None:
            await self._app(scope, receive, send)
            return
        response = await self._log_in(scope, credentials)
        if isinstance(response, JSONResponse):
            await response(scope, receive, send)
            return
        MutableHeaders(scope=scope)["Authorization"] = f"Bearer {response}"
        await self._app(scope, receive, send)

    async def _log_in(self, scope: Scope, credentials: str) -> str | JSONResponse:
        """A token, or the answer to a client that gets none."""
        digest = hmac.digest(self._key, credentials.encode(), hashlib.sha256)
        if digest in self._tokens:
            return self._tokens[digest]
        answer = await _ask_for_token(scope, credentials)
        if answer.status_code == HTTPStatus.CREATED:
            return self._tokens.setdefault(digest, answer.json()["access_token"])
        if answer.is_server_error:
            return JSONResponse({"detail": "Logging in is not possible at the moment"}, 503)
        return JSONResponse(
            {"detail": "Invalid credentials"},
            HTTPStatus.UNAUTHORIZED,
            {"WWW-Authenticate": 'Basic realm="Airflow", charset="UTF-8"'},
        )


def _basic_credentials(scope: Scope) -> str | None:
    """What follows `Basic` in a request that is ours to treat."""
    if scope["type"] != "http":
        return None
    path = scope["path"].removeprefix(scope.get("root_path", ""))
    if not path.startswith(_PROTECTED) or path in _OPEN:
        return None
    scheme, _, credentials = Headers(scope=scope).get("Authorization", "").partition(" ")
    return credentials.strip() if scheme.lower() == "basic" else None


async def _ask_for_token(scope: Scope, credentials: str) -> httpx.Response:
    try:
        text = base64.b64decode(credentials, validate=True).decode()
    except (binascii.Error, UnicodeDecodeError):
        return httpx.Response(HTTPStatus.UNAUTHORIZED)
    username, _, password = text.partition(":")
    # In this process, without the network: the application answers itself.
    root = scope.get("root_path", "")
    transport = httpx.ASGITransport(scope["app"], raise_app_exceptions=False, root_path=root)
    async with httpx.AsyncClient(transport=transport) as client:
        return await client.post(
            f"http://api-server{root}/auth/token",
            json={"username": username, "password": password},
        )
