"""The outermost layer: a request's id, its log line, its metrics, an answer to any error."""

import random
import re
import time
from collections.abc import Callable
from functools import lru_cache, partial
from urllib.parse import quote

import structlog
from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send
from structlog.contextvars import bind_contextvars, reset_contextvars

from api_host import metrics
from api_host.failures import problem_of
from api_host.http.messages import Pairs
from api_host.http.shedding import AGAIN
from api_host.models.registry import ModelVersion
from api_host.problems import INTERNAL
from api_host.rates.addresses import Proxies

REQUEST_ID = "X-Request-ID"
MODEL = "Tripod-Model"
FORWARDED = "X-Forwarded-For"
_FORWARDED = FORWARDED.lower().encode()
_REQUEST_ID, _MODEL = REQUEST_ID.lower().encode(), MODEL.lower().encode()
"""As ASGI has the names of headers."""

_QUIET_PATHS = frozenset({"/livez", "/readyz", "/v2/health/live", "/v2/health/ready"})
"""Asked every few seconds by machines: logged only when the level is DEBUG."""

_GOOD_ID = re.compile(r"[!-~]{1,128}")

_log = structlog.get_logger("api_host.access")


class AccessMiddleware:
    """Wraps the whole application.

    `proxies`: those whose word is taken for where a request comes from.
    """

    def __init__(self, app: ASGIApp, proxies: Proxies) -> None:
        self._app = app
        self._proxies = proxies

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answers one request."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        start = time.perf_counter()
        request_id = _request_id(scope)
        state = scope.setdefault("state", {})
        state["request_id"] = request_id
        self._note_client(scope)
        status = 0

        async def send_with_id(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                headers = message["headers"]
                headers.append((_REQUEST_ID, request_id.encode()))
                if served := state.get("served"):
                    headers.append((_MODEL, _header(served.name, served.version)))
                if visit := state.get("visit"):
                    headers += visit.fields()
            await send(message)

        bound = bind_contextvars(request_id=request_id)
        try:
            await self._app(scope, receive, send_with_id)
        except ClientDisconnect:
            pass  # Nobody is there to be answered.
        except Exception as error:
            response = await _response(error, scope, request_id, is_begun=bool(status))
            if response is None:
                raise  # All that is left is to break the connection.
            await response(scope, receive, send_with_id)
        finally:
            _note(scope, status, time.perf_counter() - start)
            reset_contextvars(**bound)

    def _note_client(self, scope: Scope) -> None:
        """Makes the client of a request the one behind the proxies."""
        forwarded = [
            value.decode("latin-1") for name, value in scope["headers"] if name == _FORWARDED
        ]
        client = scope.get("client")
        if client and forwarded:
            scope["client"] = (self._proxies.client(client[0], forwarded), client[1])


def good_id(given: str) -> str:
    """The caller's name for a request, or one of our own where it has none fit for a log."""
    return given if _GOOD_ID.fullmatch(given) else _new_id()


def model_header(served: ModelVersion) -> str:
    """How an answer names the version that gave it."""
    return _header(served.name, served.version).decode()


def note_served(request: Request, served: ModelVersion) -> None:
    """Says which version answers a request, for its log line and the header of its answer."""
    request.scope["state"]["served"] = served


def _new_id() -> str:
    # It names a request, and guards nothing: the kernel's randomness is a system call.
    return f"{random.getrandbits(128):032x}"


@lru_cache(1000)
def _header(name: str, version: str) -> bytes:
    return f"{quote(name)}/{version}".encode()


def _request_id(scope: Scope) -> str:
    for name, value in scope["headers"]:
        if name == _REQUEST_ID:
            return good_id(value.decode("latin-1"))
    return _new_id()


async def _response(
    error: Exception, scope: Scope, request_id: str, *, is_begun: bool
) -> Response | None:
    """The answer to an error; None where another one `is_begun`."""
    # Where an error was caught, no variable may hold it: its traceback holds that frame, and such
    # circles are left to the garbage collector, which then takes a tenth of the time of a refusal.
    problem = problem_of(error, scope, request_id)
    if is_begun or problem.kind is INTERNAL:
        _log.exception("request failed")
    if is_begun:
        return None
    may_stand = scope.get("extensions", {}).get(AGAIN)
    if may_stand and problem.again:
        refusal = _Refusal(problem.again, problem.response(None, scope["path"]), scope)
        await may_stand["keep"](refusal)
    return problem.response(request_id, scope["path"])


class _Refusal:
    """Refuses the same request again; of all that were there is one line in the log.

    `again`: counts one more as refused, and says so, if it still would be.
    `response`: what was answered, without what is of one request only.
    """

    def __init__(self, again: Callable[[], bool], response: Response, scope: Scope) -> None:
        self.again = again
        self._status, self._body = response.status_code, bytes(response.body)
        self._headers = list(response.raw_headers)
        if served := scope["state"].get("served"):
            self._headers.append((_MODEL, _header(served.name, served.version)))
        self._note = partial(metrics.note_request, _route(scope), scope["method"], self._status)
        # At a stop it is told outside of the request's context, which would have it.
        self._said = {"request_id": scope["state"]["request_id"], **_said(scope)}
        self._count, self._longest = 0, 0.0

    def answer(self, given_id: str) -> tuple[int, Pairs, bytes]:
        request_id = good_id(given_id).encode()
        return self._status, [*self._headers, (_REQUEST_ID, request_id)], self._body

    def note(self, seconds: float) -> None:
        self._count += 1
        self._longest = max(self._longest, seconds)
        self._note(seconds)

    def tell(self) -> None:
        if self._count:
            ms = _milliseconds(self._longest)
            _log.info("refused again", count=self._count, status=self._status, ms=ms, **self._said)


def _note(scope: Scope, status: int, seconds: float) -> None:
    metrics.note_request(_route(scope), scope["method"], status or None, seconds)
    log = _log.debug if scope["path"] in _QUIET_PATHS else _log.info
    log("request", status=status or None, ms=_milliseconds(seconds), **_said(scope))


def _milliseconds(seconds: float) -> float:
    return round(seconds * 1000, 2)


def _route(scope: Scope) -> str:
    # A route that nobody serves has no label of its own: callers would make up labels without end.
    return getattr(scope.get("endpoint"), "__name__", "none")


def _said(scope: Scope) -> dict[str, str | None]:
    """What is said of a request in the log."""
    served, caller = scope["state"].get("served"), scope["state"].get("caller")
    return {
        "method": scope["method"],
        "path": scope["path"],
        "client": scope["client"][0] if scope.get("client") else None,
        "model": served.name if served else None,
        "version": served.version if served else None,
        "caller": caller.name if caller else None,
    }
