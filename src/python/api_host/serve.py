"""Starts Hypercorn in this process and becomes it."""

import asyncio
import errno
import logging
import os
import socket
import sys
import tempfile
from collections.abc import Callable
from typing import Any, cast

import httpx
import uvloop
from hypercorn.asyncio import serve as hypercorn_serve
from hypercorn.config import Config
from hypercorn.logging import Logger
from hypercorn.typing import ASGIFramework
from prometheus_client import REGISTRY
from starlette.applications import Starlette

from api_host import health, metrics
from api_host.app import RECOVERY_SECONDS, create_app
from api_host.http.connections import look_after_connections
from api_host.http.heads import Heads
from api_host.http.pace import Pace
from api_host.http.shedding import Shedding
from api_host.settings import ApiSettings
from api_host.workers.together import Workers
from hostkit import pulse
from hostkit.departure import Departure, Reason
from hostkit.errors import HostError
from hostkit.listener import become_anew, inherited, listens_on

SECONDS = 1.0
BACKLOG = 1024

SWITCH_SECONDS = 0.0002
"""How soon a thread that predicts or loads a model makes way for the one that answers.

Python's own 5 ms would be waited for several times a request.
"""

ACCEPTS = 64
"""How many connections are accepted between two looks at those that are there.

Of a descriptor uvloop accepts one: a busy server, which answers all that it has at each look, would
leave new clients and health checks waiting until it is idle.
"""


class _QuietLogger(Logger):
    """Hypercorn's own lines go where all others go; requests are logged by the application."""

    def __init__(self, config: Config) -> None:  # noqa: ARG002
        self.access_logger = None
        self.error_logger = logging.getLogger("hypercorn")
        self._said = set[str]()

    async def info(self, message: str, *args: object, **kwargs: Any) -> None:
        # That it listens, it would say for each copy of the descriptor.
        if message not in self._said:
            self._said.add(message)
            await super().info(message, *args, **kwargs)


def serve(settings: ApiSettings, read_again: Callable[[], ApiSettings]) -> None:
    """Serves until SIGTERM or SIGINT, then answers what has been asked and returns.

    `read_again`: reads the settings as they are now; a service does so on SIGHUP, and starts again.
    """
    logging.getLogger("httpx").setLevel(logging.WARNING)  # A poll every second is no news.
    sys.setswitchinterval(SWITCH_SECONDS)
    _make_state_directory(settings)
    listener = listening_socket(settings)
    grpc = grpc_socket(settings)
    workers = metrics.share(settings)
    app = create_app(settings, grpc, workers or REGISTRY)
    departure = Departure(app, lambda: _check_again(listener, grpc, read_again()))
    config = server_config(settings, listener)
    # Who is to use another connection is told by the application.
    shedding = Shedding(lambda: departure.reason is None)
    look_after_connections(
        settings.api_max_connections,
        settings.api_max_connections_per_address,
        Pace(settings.api_read_timeout_seconds),
        Heads(settings.api_max_headers, settings.api_max_header_bytes),
        shedding,
    )
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(_serve(app, departure, config, workers))
    shedding.end()
    if departure.reason is Reason.RELOAD:
        become_anew([listener, grpc] if grpc else [listener], os.environ)


async def _serve(
    app: Starlette, departure: Departure, config: Config, workers: Workers | None
) -> None:
    departure.watch()

    async def look() -> str | None:
        if not departure.accepting.is_set():
            return None
        # Not through the socket, where another worker might answer.
        answer = await client.get("/livez")
        return health.sentence(app.state.host) if answer.is_success else None

    transport = httpx.ASGITransport(app, raise_app_exceptions=False)
    async with httpx.AsyncClient(transport=transport, base_url="http://localhost") as client:
        telling = [asyncio.create_task(pulse.keep_telling(look))]
        if workers:
            telling.append(asyncio.create_task(workers.keep_publishing()))
        try:
            await hypercorn_serve(
                cast("ASGIFramework", departure), config, shutdown_trigger=departure.trigger
            )
        finally:
            for task in telling:
                task.cancel()
            await asyncio.wait(telling)


def _make_state_directory(settings: ApiSettings) -> None:
    folder = settings.state_directory
    try:
        folder.mkdir(parents=True, exist_ok=True)
        tempfile.TemporaryFile(dir=folder).close()
    except OSError as error:
        raise HostError(
            f"STATE_DIRECTORY is {folder}, which cannot be written ({error.strerror}): name a"
            " folder that this user may write, or free some space"
        ) from None


def server_config(settings: ApiSettings, listener: socket.socket) -> Config:
    """Hypercorn's settings for a socket that listens already; it gets copies, which it closes."""
    config = Config()
    config.bind = [f"fd://{os.dup(listener.fileno())}" for _ in range(ACCEPTS)]
    config.backlog = BACKLOG
    config.logger_class = _QuietLogger
    config.include_server_header = False
    # Whoever is still sending or waiting when this host stops is answered all the same.
    config.graceful_timeout = (
        settings.api_read_timeout_seconds + settings.limits.longest_seconds
    ) * SECONDS
    config.startup_timeout = 2 * RECOVERY_SECONDS
    config.keep_alive_timeout = settings.api_idle_timeout_seconds * SECONDS
    config.h11_max_incomplete_size = settings.api_max_header_bytes
    # By HTTP/2 each header counts as 32 bytes more; what is a little too much is told so.
    config.h2_max_header_list_size = 2 * (
        settings.api_max_header_bytes + 32 * settings.api_max_headers
    )
    # Hypercorn's 1000 cuts HTTP/2 connections off in the middle of requests.
    config.keep_alive_max_requests = 10**9
    return config


def listening_socket(settings: ApiSettings) -> socket.socket:
    """The socket that systemd listens on for this process, or else one of our own."""
    if listener := inherited():
        _check_listener(listener, settings.api_host, settings.api_port, "API_PORT")
        return listener
    return _own_socket(settings.api_host, settings.api_port, "API_PORT")


def grpc_socket(settings: ApiSettings) -> socket.socket | None:
    """The same for gRPC; None where it is not wanted."""
    host, port = settings.api_host, settings.api_grpc_port
    if listener := inherited(1):
        _check_listener(listener, host, port, "API_GRPC_PORT")
        return listener
    if port is None:
        return None
    return _own_socket(host, port, "API_GRPC_PORT", several=settings.api_workers > 1)


def _own_socket(host: str, port: int, variable: str, *, several: bool = False) -> socket.socket:
    """A socket that listens. `several`: other workers may listen there too."""
    try:
        family, *_, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
        return socket.create_server(address[:2], family=family, backlog=BACKLOG, reuse_port=several)
    except OSError as error:
        raise HostError(_why_not_listening(error, host, port, variable)) from None


def _check_again(
    listener: socket.socket, grpc: socket.socket | None, settings: ApiSettings
) -> None:
    host = settings.api_host
    _check_listener(listener, host, settings.api_port, "API_PORT")
    if grpc is not None:
        _check_listener(grpc, host, settings.api_grpc_port, "API_GRPC_PORT")
    elif settings.api_grpc_port is not None:
        _own_socket(host, settings.api_grpc_port, "API_GRPC_PORT").close()


def _check_listener(listener: socket.socket, host: str, port: int | None, variable: str) -> None:
    if port is not None and listens_on(listener, host, port):
        return
    address, number = listener.getsockname()[:2]
    raise HostError(
        f"systemd listens on {address} port {number}, but API_HOST is {host} and {variable}"
        f" {port or 'empty'}: run 'systemctl daemon-reload' and 'systemctl restart"
        " api-host.socket' (systemd needs an address, or a name that /etc/hosts knows)"
    )


def _why_not_listening(error: OSError, host: str, port: int, variable: str) -> str:
    if isinstance(error, socket.gaierror):
        return f"API_HOST is {host!r}, and no such name is known: write an address of this machine"
    match error.errno:
        case errno.EADDRINUSE:
            return (
                f"port {port} of {host} is taken: stop what uses it, or set {variable} to another"
            )
        case errno.EACCES:
            return f"port {port} needs more rights than this user has: set {variable} above 1023"
        case errno.EADDRNOTAVAIL:
            return f"API_HOST is {host}, which is no address of this machine"
    return f"cannot listen on {host} port {port}: {error.strerror}"
