"""The gRPC server, beside the HTTP server in the same process and event loop."""

import asyncio
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from tempfile import TemporaryDirectory

import grpc
from grpc_reflection.v1alpha import reflection

from api_host.host import Host
from api_host.rpc import health, service
from api_host.rpc.calls import Calls
from api_host.rpc.door import CLOSE_SECONDS, Door
from api_host.rpc.reflection import Reflection
from api_host.settings import ApiSettings

SECONDS_TO_PING = 75
"""After so long without a word, a client is asked whether it is there still."""

SECONDS_TO_ANSWER_A_PING = 20

SECONDS_BETWEEN_PINGS = 10
"""A client that asks that more often, again and again, is sent away."""

IDLE_SECONDS = 600
"""After so long without a call, a client is asked to go; it connects again when it has one."""

SECONDS_TO_GO = 5
"""How long clients may take to go when they are asked to: calls that come later are refused."""


@asynccontextmanager
async def running(host: Host, listener: socket.socket) -> AsyncIterator[None]:
    """Serves until the end of the block, then answers what has been asked.

    `listener`: listens already, and stays open.
    """
    settings = host.settings
    calls = Calls(host)
    handlers = {
        service.SERVICE.full_name: service.handlers(calls),
        health.SERVICE.full_name: health.handlers(host, calls),
    }
    server = grpc.aio.server(
        handlers=[grpc.method_handlers_generic_handler(*each) for each in handlers.items()],
        options=options(settings),
        interceptors=[Reflection(host)],
        # As many again for what watches, reflects, and is asked by machines that look after us.
        maximum_concurrent_rpcs=2 * settings.api_max_connections,
    )
    reflection.enable_server_reflection((*handlers, reflection.SERVICE_NAME), server)
    with TemporaryDirectory(prefix=f"{settings.host_name}-") as folder:
        inside = Path(folder, "grpc")
        server.add_insecure_port(f"unix:{inside}")
        await server.start()
        door = Door(
            listener, inside, settings.api_max_connections, settings.api_max_connections_per_address
        )
        door.open()
        try:
            yield
        finally:
            calls.parting.set()
            door.close()
            await door.emptied(SECONDS_TO_GO)
            await _stop(server, calls, host.limits.longest_seconds)
            await door.emptied(CLOSE_SECONDS)


async def _stop(server: grpc.aio.Server, calls: Calls, seconds: float) -> None:
    # Streams last as long as their clients like: only calls are waited for.
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
        ("grpc.max_metadata_size", settings.api_max_header_bytes),
        ("grpc.absolute_max_metadata_size", settings.api_max_header_bytes),
        ("grpc.max_concurrent_streams", settings.api_max_connections),
        # Of a message that shrinks, nobody knows how large it will be. The bit is "uncompressed".
        ("grpc.compression_enabled_algorithms_bitset", 1),
        ("grpc.server_handshake_timeout_ms", _milliseconds(settings.api_read_timeout_seconds)),
        ("grpc.max_connection_idle_ms", _milliseconds(IDLE_SECONDS)),
        ("grpc.keepalive_time_ms", _milliseconds(SECONDS_TO_PING)),
        ("grpc.keepalive_timeout_ms", _milliseconds(SECONDS_TO_ANSWER_A_PING)),
        ("grpc.http2.ping_timeout_ms", _milliseconds(SECONDS_TO_ANSWER_A_PING)),
        ("grpc.keepalive_permit_without_calls", 1),
        ("grpc.http2.min_ping_interval_without_data_ms", _milliseconds(SECONDS_BETWEEN_PINGS)),
    ]


def _milliseconds(seconds: float) -> int:
    return int(seconds * 1000)
