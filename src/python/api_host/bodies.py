"""Reads a request's body, but not one that is too large or too slow."""

import asyncio

from starlette.requests import ClientDisconnect, Request

from api_host.http.exchange import BODY
from api_host.problems import BODY_TOO_LARGE, SLOW_BODY, UNSUPPORTED_MEDIA_TYPE, Problem
from api_host.settings import ApiSettings


async def read_body(request: Request, settings: ApiSettings) -> bytes:
    """The whole body. Raises `Problem`, and Starlette's own error if the client went away."""
    # That it is here already is what most clients see to: then there is nothing to time.
    whole = request.scope.get("extensions", {}).get(BODY)
    body: bytes = whole["body"] if whole else await _receive(request, settings)
    if len(body) > settings.api_max_body_bytes:
        raise _too_large(settings)
    # Only now: whoever still sends might not read the answer.
    check_encoding(request)
    return body


def check_encoding(request: Request) -> None:
    """Raises `Problem` if a body is compressed: nobody can tell how large it becomes."""
    for name, value in request.scope["headers"]:
        if name == b"content-encoding" and value.strip().lower() != b"identity":
            detail = f"the body is {value.decode('latin-1')[:40]}: send it uncompressed"
            raise Problem(UNSUPPORTED_MEDIA_TYPE, detail)


async def _receive(request: Request, settings: ApiSettings) -> bytes:
    chunks: list[bytes] = []
    size = 0
    try:
        async with asyncio.timeout(settings.api_read_timeout_seconds):
            while True:
                message = await request.receive()
                if message["type"] == "http.disconnect":
                    raise ClientDisconnect
                chunk = message.get("body", b"")
                size += len(chunk)
                # What is too large is read to its end, or the client would not read the answer.
                if size <= settings.api_max_body_bytes:
                    chunks.append(chunk)
                if not message.get("more_body", False):
                    break
    except TimeoutError:
        if size <= settings.api_max_body_bytes:
            seconds = f"{settings.api_read_timeout_seconds:g} s"
            raise Problem(SLOW_BODY, f"the body was not here after {seconds}") from None
    if size > settings.api_max_body_bytes:
        raise _too_large(settings)
    return b"".join(chunks)


def _too_large(settings: ApiSettings) -> Problem:
    detail = f"the body may have {settings.api_max_body_bytes} bytes, and has more"
    return Problem(BODY_TOO_LARGE, detail)
