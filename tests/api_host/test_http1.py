"""HTTP/1.1 as Hypercorn speaks it for us."""

import asyncio
from collections.abc import Callable
from functools import partial
from typing import TypeAlias, cast

import pytest
from hypercorn.app_wrappers import ASGIWrapper
from hypercorn.asyncio.task_group import TaskGroup
from hypercorn.asyncio.worker_context import WorkerContext
from hypercorn.config import Config
from hypercorn.events import Event, RawData
from hypercorn.protocol.h11 import H11Protocol
from hypercorn.typing import ASGIFramework, ConnectionState
from starlette.responses import Response

from api_host.http.heads import Heads
from api_host.http.http1 import Http1

Headers: TypeAlias = list[tuple[bytes, bytes]]

OURS = partial(Http1, Heads(100, 16_384))

ASK = b"GET / HTTP/1.1\r\nHost: api\r\n\r\n"
PLAIN = [(b"content-length", b"2"), (b"content-type", b"text/plain"), (b"X-Case", b"kept \xe9")]


async def answer(
    protocol: Callable[..., H11Protocol], headers: Headers, ask: bytes = ASK
) -> list[bytes]:
    """What is sent, piece by piece, to who asks an application that answers with these headers."""
    sent = []
    response = Response(b"ok")
    response.raw_headers = headers

    async def send(event: Event) -> None:
        if isinstance(event, RawData):
            sent.append(event.data)

    config = Config()
    config.include_date_header = False
    context, state = WorkerContext(None), ConnectionState({})
    app = ASGIWrapper(cast("ASGIFramework", response))
    async with TaskGroup(asyncio.get_running_loop()) as group:
        connection = protocol(app, config, context, group, state, False, None, None, send)
        await connection.handle(RawData(ask))
    return sent


@pytest.mark.anyio
@pytest.mark.parametrize(
    "ask",
    [
        ASK,
        b"HEAD / HTTP/1.1\r\nHost: api\r\n\r\n",
        b"GET / HTTP/1.0\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: api\r\nConnection: close\r\n\r\n",
    ],
)
async def test_an_answer_is_what_hypercorn_sends_but_in_one_piece(ask: bytes) -> None:
    (whole,) = await answer(OURS, PLAIN, ask)
    assert whole == b"".join(await answer(H11Protocol, PLAIN, ask))


@pytest.mark.anyio
@pytest.mark.parametrize("evil", [b"a\r\nset-cookie: b", b"a\nb", b"a\rb", b"a\0b"])
async def test_a_header_cannot_begin_another(evil: bytes) -> None:
    for header in ((b"x", evil), (evil, b"x")):
        sent = b"".join(await answer(OURS, [*PLAIN, header]))
        assert sent.startswith(b"HTTP/1.1 500")
        assert evil not in sent
