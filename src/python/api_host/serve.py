"""Starts Hypercorn in this process and becomes it."""

import asyncio
import errno
import logging
import os
import socket
import tempfile
from typing import cast

import uvloop
from hypercorn.asyncio import serve as hypercorn_serve
from hypercorn.config import Config
from hypercorn.logging import Logger
from hypercorn.typing import ASGIFramework

from api_host.app import create_app
from api_host.settings import ApiSettings
from hostkit.errors import HostError

SECONDS = 1.0
BACKLOG = 1024
INHERITED = 3
"""The first file descriptor that systemd hands over (sd_listen_fds(3))."""


class _QuietLogger(Logger):
    """Hypercorn's own lines go where all others go; requests are logged by the application."""

    def __init__(self, config: Config) -> None:  # noqa: ARG002
        self.access_logger = None
        self.error_logger = logging.getLogger("hypercorn")


def serve(settings: ApiSettings) -> None:
    """Serves until SIGTERM or SIGINT, then answers what has been asked and returns."""
    logging.getLogger("httpx").setLevel(logging.WARNING)  # A poll every second is no news.
    _make_state_directory(settings)
    descriptor = listening_socket(settings)
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        app = cast("ASGIFramework", create_app(settings))
        runner.run(hypercorn_serve(app, server_config(settings, descriptor)))


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


def server_config(settings: ApiSettings, descriptor: int) -> Config:
    """Hypercorn's settings for a socket that listens already."""
    config = Config()
    config.bind = [f"fd://{descriptor}"]
    config.backlog = BACKLOG
    config.logger_class = _QuietLogger
    config.include_server_header = False
    # Whoever is still sending or waiting when this host stops is answered all the same.
    config.graceful_timeout = (
        settings.api_read_timeout_seconds + settings.api_predict_timeout_seconds
    ) * SECONDS
    config.keep_alive_timeout = 75 * SECONDS
    # Hypercorn's 1000 cuts HTTP/2 connections off in the middle of requests.
    config.keep_alive_max_requests = 10**9
    return config


def listening_socket(settings: ApiSettings) -> int:
    """The socket that systemd listens on for this process, or else one of our own."""
    if os.environ.get("LISTEN_PID") == str(os.getpid()) and int(os.environ["LISTEN_FDS"]) > 0:
        return INHERITED
    host, port = settings.api_host, settings.api_port
    try:
        family, *_, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
        return socket.create_server(address[:2], family=family, backlog=BACKLOG).detach()
    except OSError as error:
        raise HostError(_why_not_listening(error, host, port)) from None


def _why_not_listening(error: OSError, host: str, port: int) -> str:
    if isinstance(error, socket.gaierror):
        return f"API_HOST is {host!r}, and no such name is known: write an address of this machine"
    match error.errno:
        case errno.EADDRINUSE:
            return f"port {port} of {host} is taken: stop what uses it, or set API_PORT to another"
        case errno.EACCES:
            return f"port {port} needs more rights than this user has: set API_PORT above 1023"
        case errno.EADDRNOTAVAIL:
            return f"API_HOST is {host}, which is no address of this machine"
    return f"cannot listen on {host} port {port}: {error.strerror}"
