"""Reads a request's body, but not one that is too large or too slow."""

import asyncio

from starlette.requests import ClientDisconnect, Request

from api_host.problems import BODY_TOO_LARGE, SLOW_BODY, Problem


async def read_body(request: Request, *, most_bytes: int, timeout_seconds: float) -> bytes:
    """The whole body. Raises `Problem`, and `ClientDisconnect` if the client went away."""
    body = bytearray()
    too_large = False
    try:
        async with asyncio.timeout(timeout_seconds):
            async for chunk in request.stream():
                # What is too large is read to its end, or the client would not read the answer.
                too_large = too_large or len(body) + len(chunk) > most_bytes
                if not too_large:
                    body += chunk
    except TimeoutError:
        raise Problem(
            SLOW_BODY,
            f"the body was not here after {timeout_seconds:g} s",
            headers={"Connection": "close"},
        ) from None
    if too_large:
        raise Problem(BODY_TOO_LARGE, f"the body has more than {most_bytes} bytes")
    return bytes(body)


__all__ = ["ClientDisconnect", "read_body"]
