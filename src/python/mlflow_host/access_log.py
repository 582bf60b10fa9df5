"""Hypercorn's log of requests, one structured event each."""

from typing import TYPE_CHECKING

import structlog
from hypercorn.logging import Logger

if TYPE_CHECKING:
    from hypercorn.typing import ResponseSummary, WWWScope

_QUIET_PATHS = frozenset({"/health", "/metrics"})
"""Asked every few seconds by machines: logged only when the level is DEBUG."""

_log = structlog.get_logger("access")


class AccessLogger(Logger):
    """Hypercorn's logger, with fields in its lines of access, and without the query."""

    async def access(
        self, request: "WWWScope", response: "ResponseSummary | None", request_time: float
    ) -> None:
        """Logs one request; `response` is None where the client went away before its end."""
        fields = {
            "method": request.get("method", "GET"),  # A websocket has none.
            "path": request["path"],
            "client": (request["client"] or [None])[0],
            "seconds": round(request_time, 4),
        }
        if request_id := dict(request["headers"]).get(b"x-request-id"):
            fields["request_id"] = request_id.decode("latin-1")
        if response is None:
            # Not seldom at the very end, and then a line with the status follows.
            _log.debug("client went away", **fields)
        else:
            log = _log.debug if request["path"] in _QUIET_PATHS else _log.info
            log("request", status=response["status"], **fields)
