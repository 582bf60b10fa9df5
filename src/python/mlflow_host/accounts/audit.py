"""An audit line for each change of models, accounts and permissions, and for each deletion."""

import json
import re
from collections.abc import Mapping
from typing import Any
from urllib.parse import parse_qsl

from hostkit import audit

MOST_BYTES = 64 * 1024
"""Of a body that is looked at for the name of what is changed."""

_SAFE = frozenset({"GET", "HEAD", "OPTIONS"})
_PATH = re.compile(r"/(?:ajax-)?api/\d\.\d/mlflow(-artifacts)?/(?P<family>[a-z-]+)/?(?P<rest>.*)")
_WHOLE = {
    "registered-models": "model",
    "model-versions": "version",
    "users": "user",
    "roles": "role",
    "webhooks": "webhook",
    "workspaces": "workspace",
    "gateway": "gateway",
    "scorers": "scorer",
}
"""Families of which each change is told; of all others, only what is deleted or restored."""

_NAMES = (
    "name",
    "username",
    "role_id",
    "experiment_id",
    "run_id",
    "dataset_id",
    "resource_id",
)
_DETAILS = ("alias", "version", "new_name", "resource_type", "permission", "is_admin")


class AuditMiddleware:
    """Writes the lines. Requests that change nothing cost it two comparisons."""

    def __init__(self, application: Any) -> None:
        self._application = application

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        """Passes one request on."""
        action = action_of(scope.get("method", "GET"), scope.get("path", ""))
        if scope["type"] != "http" or action is None:
            await self._application(scope, receive, send)
            return
        body = bytearray()
        status = 0

        async def listening_receive() -> Any:
            message = await receive()
            if len(body) < MOST_BYTES:
                body.extend(message.get("body", b""))
            return message

        async def listening_send(message: Any) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
            await send(message)

        try:
            await self._application(scope, listening_receive, listening_send)
        finally:
            if status == 403 or 200 <= status < 300:  # noqa: PLR2004
                account = scope.get("state", {}).get("account")
                audit.note(
                    action,
                    _object(scope, bytes(body)),
                    who=f"user:{account.name}" if account else "anybody",
                    address=(scope.get("client") or (None,))[0],
                    allowed=status != 403,  # noqa: PLR2004
                )


def action_of(method: str, path: str) -> str | None:
    """What a request changes, as a dotted name; None if it is nothing that is told."""
    if method in _SAFE:
        return None
    found = _PATH.fullmatch(path)
    if found is None:
        return None
    family, rest = found["family"], found["rest"]
    words = [word for word in rest.split("/") if word.isalpha() or "-" in word]
    verb = "-".join(words[-2:]) if family in ("users", "roles", "gateway") else "".join(words[-1:])
    if family in _WHOLE:
        kind = _WHOLE[family]
        if verb == "alias":
            return f"{kind}.alias-{'remove' if method == 'DELETE' else 'set'}"
        return f"{kind}.{verb if verb and family != 'webhooks' else _verb(method)}"
    if method == "DELETE" or "delete" in rest or "restore" in rest:
        return f"{family.removesuffix('s')}.{'restore' if 'restore' in rest else 'delete'}"
    return None


def _verb(method: str) -> str:
    return {"POST": "create", "DELETE": "delete"}.get(method, "update")


def _object(scope: Any, body: bytes) -> str:
    fields: dict[str, object] = dict(parse_qsl(scope["query_string"].decode("latin-1")))
    try:
        given = json.loads(body) if body else {}
    except ValueError:
        given = {}
    if isinstance(given, Mapping):
        fields |= given
    name = next((str(fields[key]) for key in _NAMES if fields.get(key) not in (None, "")), "")
    details = [f"{key}={fields[key]}" for key in _DETAILS if fields.get(key) is not None]
    found = _PATH.fullmatch(scope["path"])
    family = found["family"] if found else ""
    kind = _WHOLE.get(family, family.removesuffix("s"))
    where = name or (found["rest"] if found else "")
    return " ".join([f"{kind}:{where}", *details])
