"""The gRPC server, beside the HTTP server in the same process and event loop."""

import asyncio
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import grpc
from grpc_reflection.v1alpha import reflection

from api_host.host import Host
from api_host.rpc import health, service
from api_host.rpc.calls import Calls
from api_host.settings import ApiSettings

MILLISECONDS_TO_PING = 75_000
"""After so long without a word, a client is asked whether it is there still."""


@asynccontextmanager
async def running(host: Host) -> AsyncIterator[None]:
    """Serves until the end of the block, then answers what has been asked."""
    settings = host.settings
    calls = Calls(host)
    handlers = {
        service.SERVICE.full_name: service.handlers(calls),
        health.SERVICE.full_name: health.handlers(host, calls),
    }
    server = grpc.aio.server(
        handlers=[grpc.method_handlers_generic_handler(*each) for each in handlers.items()],
        options=options(settings),
    )
    reflection.enable_server_reflection((*handlers, reflection.SERVICE_NAME), server)
    server.add_insecure_port(_address(settings))
    await server.start()
    try:
        yield
    finally:
        # Streams last as long as their clients like: only calls are waited for.
        seconds = host.limits.longest_seconds
        stop = asyncio.create_task(server.stop(seconds))
        await asyncio.sleep(0)
        if calls.running:
            await asyncio.wait(calls.running, timeout=seconds)
        await server.stop(None)
        await stop


def options(settings: ApiSettings) -> list[tuple[str, int]]:
    """What gRPC is told of the limits of this host."""
    return [
        ("grpc.max_receive_message_length", settings.api_max_body_bytes),
        # Of a message that shrinks, nobody knows how large it will be. The bit is "uncompressed".
        ("grpc.compression_enabled_algorithms_bitset", 1),
        # Several workers listen on one port; one alone is told if the port is taken.
        ("grpc.so_reuseport", int(settings.api_workers > 1)),
        ("grpc.keepalive_time_ms", MILLISECONDS_TO_PING),
    ]


def _address(settings: ApiSettings) -> str:
    host, port = settings.api_host, settings.api_grpc_port
    family, *_, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
    return f"[{address[0]}]:{port}" if family == socket.AF_INET6 else f"{address[0]}:{port}"
