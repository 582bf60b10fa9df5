"""Reads a request's body, but not one that is too large or too slow."""

import asyncio

from starlette.requests import ClientDisconnect, Request

from api_host.host import host_of
from api_host.problems import BODY_TOO_LARGE, SLOW_BODY, Problem


async def read_body(request: Request) -> bytes:
    """The whole body. Raises `Problem`, and Starlette's own error if the client went away."""
    settings = host_of(request).settings
    most_bytes = settings.api_max_body_bytes
    timeout_seconds = settings.api_read_timeout_seconds
    chunks: list[bytes] = []
    size = 0
    try:
        async with asyncio.timeout(timeout_seconds):
            while True:
                message = await request.receive()
                if message["type"] == "http.disconnect":
                    raise ClientDisconnect
                chunk = message.get("body", b"")
                size += len(chunk)
                # What is too large is read to its end, or the client would not read the answer.
                if size <= most_bytes:
                    chunks.append(chunk)
                if not message.get("more_body", False):
                    break
    except TimeoutError:
        if size <= most_bytes:
            raise Problem(SLOW_BODY, f"the body was not here after {timeout_seconds:g} s") from None
    if size > most_bytes:
        raise Problem(BODY_TOO_LARGE, f"the body may have {most_bytes} bytes, and has more")
    return b"".join(chunks)
