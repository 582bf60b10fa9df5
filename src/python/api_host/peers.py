"""Answers of the other hosts, of which none is believed to be small or quick."""

import asyncio

import httpx

SECONDS = 1.0
MEBIBYTES = 1024 * 1024

MOST_BYTES = 32 * MEBIBYTES
"""More than the largest registry has to say at once."""

MOST_SECONDS = 30 * SECONDS
"""Within which an answer must be whole: a time-out of httpx begins anew with each byte."""


async def ask(client: httpx.AsyncClient, request: httpx.Request) -> httpx.Response:
    """The whole answer to a request; a redirect is one, and is not followed.

    Raises `httpx.HTTPError`, also if the answer is too large, too slow or compressed.
    """
    request.headers["Accept-Encoding"] = "identity"
    try:
        async with asyncio.timeout(MOST_SECONDS):
            response = await client.send(request, stream=True, follow_redirects=False)
            try:
                content = await _content(response)
            finally:
                await response.aclose()
    except TimeoutError:
        raise httpx.ReadTimeout(f"no whole answer within {MOST_SECONDS:g} s") from None
    return httpx.Response(
        response.status_code, headers=response.headers, content=content, request=request
    )


async def _content(response: httpx.Response) -> bytes:
    encoding = response.headers.get("Content-Encoding", "identity")
    if encoding != "identity":
        raise httpx.DecodingError(f"the answer is {encoding}, although that was not asked for")
    content = bytearray()
    async for piece in response.aiter_raw():
        content += piece
        if len(content) > MOST_BYTES:
            raise httpx.RemoteProtocolError(f"the answer has more than {MOST_BYTES} bytes")
    return bytes(content)
