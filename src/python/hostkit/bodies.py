"""What clients may send as a body to a server whose framework takes whatever comes."""

import json
from collections.abc import Callable
from http import HTTPStatus
from typing import Any

_LENGTHS = {b"content-length", b"transfer-encoding"}

Most = Callable[[Any], int | None]
"""How many bytes the body of a request may have, by its scope; None: any number."""


class TooMuch(Exception):  # noqa: N818 (the application sees it, and nobody else)
    """The rest of a body is not read."""


class Bodies:
    """ASGI middleware: refuses a body that is too large, or one too many at a time.

    And one that has two ends, by a length and by chunks: a proxy might see the other one.

    `most`: for each.
    `together`: for all that have such a limit, until they are answered.
    `setting`: that says how much each may have.
    """

    def __init__(self, app: Any, most: Most, together: int, setting: str) -> None:
        self._app = app
        self._most = most
        self._most_together = together
        self._setting = setting
        self._together = 0

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        """Passes the request on for as long as its body is within the limits."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
        elif {name for name, _ in scope["headers"]} >= _LENGTHS:
            await _refuse(send, HTTPStatus.BAD_REQUEST, "A body has a length or chunks, not both")
        elif (most := self._most(scope)) is None:
            await self._app(scope, receive, send)
        elif _announced(scope) > most:
            await self._refuse_large(send, most)
        else:
            await self._limit(most, scope, receive, send)

    async def _limit(self, most: int, scope: Any, receive: Any, send: Any) -> None:
        body = 0
        is_begun = is_refused = False

        async def counted() -> Any:
            nonlocal body, is_refused
            message = await receive()
            size = len(message.get("body", b""))
            body += size
            self._together += size
            if body <= most and self._together <= self._most_together:
                return message
            if not (is_begun or is_refused):
                is_refused = True
                await (self._refuse_large(send, most) if body > most else _refuse_many(send))
            raise TooMuch

        async def told(message: Any) -> None:
            nonlocal is_begun
            is_begun = True
            if not is_refused:
                await send(message)

        try:
            await self._app(scope, counted, told)
        except Exception:
            if not is_refused:  # What the application makes of it is no news.
                raise
        finally:
            self._together -= body

    async def _refuse_large(self, send: Any, most: int) -> None:
        detail = f"A body may have {most} bytes here, by {self._setting} of this server"
        await _refuse(send, HTTPStatus.REQUEST_ENTITY_TOO_LARGE, detail)


def _announced(scope: Any) -> int:
    lengths = [value for name, value in scope["headers"] if name == b"content-length"]
    return int(lengths[0]) if lengths and lengths[0].isdigit() else 0


async def _refuse_many(send: Any) -> None:
    detail = "Too much is being sent at the moment: come back later"
    await _refuse(send, HTTPStatus.SERVICE_UNAVAILABLE, detail, (b"retry-after", b"1"))


async def _refuse(send: Any, status: HTTPStatus, detail: str, *more: tuple[bytes, bytes]) -> None:
    headers = [(b"content-type", b"application/json"), (b"connection", b"close"), *more]
    body = json.dumps({"detail": detail}).encode()
    await send({"type": "http.response.start", "status": int(status), "headers": headers})
    await send({"type": "http.response.body", "body": body})
