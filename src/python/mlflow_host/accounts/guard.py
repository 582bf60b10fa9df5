"""Stands in front of MLflow: lets in who has an account, and only to what its role may ask for.

MLflow then decides about the objects. It leaves some paths open by itself; here only the health is.
"""

import asyncio
import re
import time
from base64 import b64decode
from collections import defaultdict, deque
from collections.abc import Awaitable, Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any
from urllib.parse import parse_qs

import structlog
from starlette.responses import PlainTextResponse

from mlflow_host.accounts import roles
from mlflow_host.accounts.passwords import Account, Passwords

OPEN = frozenset({("GET", "/health"), ("HEAD", "/health")})
"""What everybody may ask."""

SECONDS = 1.0

MOST_FAILURES = 10
SECONDS_OF_FAILURES = 60 * SECONDS
"""So many wrong passwords in so long, and an address is not listened to until it has been."""

MOST_ADDRESSES = 10_000
MOST_WAITING = 32
"""How many passwords may wait to be hashed, one after the other."""

_BASIC = re.compile(r"basic ([A-Za-z0-9+/]+={0,2})", re.IGNORECASE)
_ARTIFACT = re.compile(r"/(?:ajax-)?api/2\.0/mlflow-artifacts/artifacts(?:/(.+))?")
_RUN = re.compile(r"/(?:ajax-)?api/2\.0/mlflow/runs/get")

_log = structlog.get_logger("accounts")

Registered = Callable[[str, str], bool]
"""Whether a registered model has an artifact ("artifact", its path) or a run ("run", its id)."""


class Guard:
    """Asks who calls, before anything else is done.

    `passwords`: by which accounts are known.
    `is_registered`: asks the database.
    """

    def __init__(self, application: Any, passwords: Passwords, is_registered: Registered) -> None:
        self._application = application
        self._passwords = passwords
        self._is_registered = is_registered
        self._lookups = ThreadPoolExecutor(2, thread_name_prefix="accounts")
        # One after the other, so that guessing keeps one processor busy, and not the server.
        self._hashes = ThreadPoolExecutor(1, thread_name_prefix="passwords")
        self._waiting = 0
        self._failures = Failures()

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        """Passes one request on, or refuses it."""
        if scope["type"] == "lifespan" or (scope.get("method"), scope["path"]) in OPEN:
            await self._application(scope, receive, send)
            return
        if scope["type"] != "http":
            await send({"type": "websocket.close", "code": 1008})
            return
        refusal = await self._refusal(scope)
        await (refusal or self._application)(scope, receive, send)

    async def _refusal(self, scope: Any) -> Any:
        credentials = _credentials(scope)
        if credentials is None:
            return _unauthorized("Log in with a name and a password")
        account = self._passwords.known(*credentials)
        if account is None:
            address = (scope.get("client") or ("",))[0]
            seconds = self._failures.seconds_to_wait(address)
            account, is_settled = await self._run(
                self._lookups, self._passwords.recall, credentials
            )
            if not is_settled and (seconds or self._waiting >= MOST_WAITING):
                return _too_many(seconds or 1)
            if account is None and not is_settled:
                account = await self._hashed(credentials)
                if account is None:  # The same wrong one again is no guess.
                    self._failures.add(address)
            if account is None:
                _log.warning("wrong name or password", client=address)
                return _unauthorized("The name or the password is wrong")
        scope.setdefault("state", {})["account"] = account
        if account.is_admin or await self._may(account, scope):
            return None
        return _forbidden(account, scope)

    async def _hashed(self, credentials: tuple[str, str]) -> Account | None:
        self._waiting += 1
        try:
            account: Account | None = await self._run(
                self._hashes, self._passwords.check, credentials
            )
            return account
        finally:
            self._waiting -= 1

    async def _may(self, account: Account, scope: Any) -> bool:
        path: str = scope["path"]
        if not roles.lets(account.roles, scope["method"], path):
            return False
        if not roles.is_registered_only(account.roles):
            return True
        asked = _artifact_or_run(scope)
        return asked is None or bool(await self._run(self._lookups, self._is_registered, asked))

    @staticmethod
    def _run(pool: ThreadPoolExecutor, do: Callable[..., Any], arguments: Any) -> Awaitable[Any]:
        return asyncio.get_running_loop().run_in_executor(pool, do, *arguments)


class Failures:
    """Counts the wrong passwords of each address."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._moments: defaultdict[str, deque[float]] = defaultdict(
            lambda: deque(maxlen=MOST_FAILURES)
        )

    def add(self, address: str) -> None:
        """Counts one."""
        if len(self._moments) >= MOST_ADDRESSES:
            self._moments.pop(next(iter(self._moments)))
        self._moments[address].append(self._clock())

    def seconds_to_wait(self, address: str) -> int:
        """How long the address must wait until another password of it is looked at."""
        moments = self._moments.get(address)
        if moments is None or len(moments) < MOST_FAILURES:
            return 0
        left = moments[0] + SECONDS_OF_FAILURES - self._clock()
        return max(0, round(left + 0.5))


def _artifact_or_run(scope: Any) -> tuple[str, str] | None:
    """What `Registered` is asked about a request; None if it reads neither of the two."""
    query = parse_qs(scope["query_string"].decode("latin-1"))
    if found := _ARTIFACT.fullmatch(scope["path"]):
        # A list of files is asked for by the folder, which is one of a file in it.
        folders = query.get("path", ())
        return "artifact", found[1] or (f"{folders[0]}/file" if len(folders) == 1 else "")
    if not _RUN.fullmatch(scope["path"]):
        return None
    runs = [*query.get("run_id", ()), *query.get("run_uuid", ())]
    return "run", runs[0] if len(runs) == 1 else ""


def _credentials(scope: Any) -> tuple[str, str] | None:
    """The name and the password. What MLflow could understand otherwise than we do counts as none.

    Werkzeug, which reads the header after us, takes several of them as one, and skips what is no
    Base64.
    """
    given = [value for name, value in scope["headers"] if name.lower() == b"authorization"]
    if len(given) != 1:
        return None
    found = _BASIC.fullmatch(given[0].decode("latin-1"))
    if found is None:
        return None
    try:
        text = b64decode(found[1], validate=True).decode("utf-8")
    except ValueError:
        return None
    name, colon, password = text.partition(":")
    return (name, password) if name and colon and "\0" not in text else None


def _unauthorized(sentence: str) -> PlainTextResponse:
    return PlainTextResponse(
        f"{sentence}: 'mlflow-host users' on MLflow's server makes accounts.\n",
        401,
        {"WWW-Authenticate": 'Basic realm="mlflow", charset="UTF-8"'},
    )


def _too_many(seconds: int) -> PlainTextResponse:
    return PlainTextResponse("Too many wrong passwords.\n", 429, {"Retry-After": str(seconds)})


def _forbidden(account: Account, scope: Any) -> PlainTextResponse:
    return PlainTextResponse(
        f"{account.name} may not {scope['method']} this: its role is"
        f" {', '.join(sorted(account.roles))}.\n",
        403,
    )
