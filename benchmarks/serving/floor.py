"""The floor: an application that reads a body and answers always the same, on the API's server.

    PEX_INTERPRETER=1 API_PORT=... dist/api_host.pex benchmarks/serving/floor.py

Starlette, Hypercorn, uvloop and Hypercorn's settings are those of the API host.
"""

import asyncio
from typing import cast

import uvloop
from hypercorn.asyncio import serve
from hypercorn.typing import ASGIFramework
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from api_host.serve import listening_socket, server_config
from api_host.settings import ApiSettings
from hostkit.settings import load

ANSWER = b'{"predictions":[]}'


async def answer(request: Request) -> Response:
    """Reads the body, and does nothing with it."""
    await request.body()
    return Response(ANSWER, media_type="application/json")


def main() -> None:
    """Serves until SIGTERM."""
    settings = load(ApiSettings).settings
    app = Starlette(routes=[Route("/", answer, methods=["GET", "POST"])])
    config = server_config(settings, listening_socket(settings))
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(serve(cast("ASGIFramework", app), config))


if __name__ == "__main__":
    main()
