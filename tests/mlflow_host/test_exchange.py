"""What becomes of a body whose request is answered before all of it has come."""

import asyncio
import os
import socket
from asyncio import Queue
from typing import Any

from hypercorn.asyncio import serve
from hypercorn.config import Config

from hostkit import http1

SECONDS = 60

BODY = bytes(64 << 20)
HEAD = b"POST / HTTP/1.1\r\nHost: host\r\nContent-Length: %d\r\n\r\n" % len(BODY)


async def refuse_late(scope: Any, receive: Any, send: Any) -> None:
    """Answers as soon as it has taken one piece of many, for which another one waits."""
    if scope["type"] != "http":
        return
    queue: Queue[Any] = receive.__self__
    async with asyncio.timeout(SECONDS):
        while not queue._putters:  # type: ignore[attr-defined]  # noqa: SLF001, ASYNC110
            await asyncio.sleep(0)
    await receive()
    await send({"type": "http.response.start", "status": 413, "headers": []})
    await send({"type": "http.response.body", "body": b"too much"})


def ask(port: int) -> bytes:
    with socket.create_connection(("127.0.0.1", port), SECONDS) as connection:
        connection.sendall(HEAD)
        connection.sendall(BODY)
        return connection.makefile("rb").read()


def test_the_rest_of_a_body_is_taken_though_nobody_reads_it() -> None:
    async def run() -> bytes:
        stop = asyncio.Event()
        with socket.create_server(("127.0.0.1", 0)) as listener:
            config = Config()
            config.bind = [f"fd://{os.dup(listener.fileno())}"]
            http1.speak()
            serving = asyncio.create_task(serve(refuse_late, config, shutdown_trigger=stop.wait))
            answer = await asyncio.to_thread(ask, listener.getsockname()[1])
            stop.set()
            await serving
        return answer

    answer = asyncio.run(run())
    assert answer.startswith(b"HTTP/1.1 413 ")
    assert answer.endswith(b"too much\r\n0\r\n\r\n")
