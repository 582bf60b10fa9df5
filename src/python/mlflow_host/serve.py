"""Becomes MLflow's server: MLflow's own application under Hypercorn, in this one process."""

import asyncio
import errno
import importlib
import logging
import os
import socket
import warnings
from collections.abc import Awaitable, Callable, Mapping
from pathlib import Path
from typing import Any

import httpx
import structlog
from hypercorn.asyncio import serve as serve_application
from hypercorn.config import Config
from starlette.requests import ClientDisconnect
from uvicorn.middleware.proxy_headers import ProxyHeadersMiddleware

from hostkit import http1, pulse
from hostkit.bodies import Bodies
from hostkit.departure import Departure, Reason
from hostkit.errors import HostError
from hostkit.listener import FIRST, become_anew, inherited, listens_on
from hostkit.network import local_url
from mlflow_host import database, metrics
from mlflow_host.access_log import AccessLogger
from mlflow_host.accounts import setup
from mlflow_host.accounts.audit import AuditMiddleware
from mlflow_host.accounts.setup import Protection
from mlflow_host.settings import MlflowSettings

SECONDS = 1.0

GRACEFUL_TIMEOUT = 60 * SECONDS
"""How long a transfer in flight may go on after SIGTERM."""

HEALTH_TIMEOUT = 10 * SECONDS
"""How long the server may take to answer its own question."""

BODIES_AT_ONCE = 4
"""How many of the largest size may come in at a time; of smaller ones as much in all."""

_ARTIFACTS = ("/api/2.0/mlflow-artifacts/", "/ajax-api/2.0/mlflow-artifacts/")

_log = structlog.get_logger("serve")


def serve(
    settings: MlflowSettings,
    read_again: Callable[[], MlflowSettings],
    environment: Mapping[str, str],
) -> None:
    """Serves until SIGTERM or Ctrl-C. The variables of `server_environment` are set already.

    `read_again`: reads the settings as they are now; a service does so on SIGHUP, and starts again.
    `environment`: what it is to start again with.
    """
    logging.getLogger("httpx").setLevel(logging.WARNING)  # That it is well is no news.
    listener = _listener(settings)
    _make_artifacts_folder(settings.mlflow_artifacts_destination)
    protection = _prepare_database(settings)
    _tell(settings, protection)
    departure = Departure(_application(settings, protection), lambda: _check(read_again()))
    http1.speak()
    # A copy, which Hypercorn closes.
    config = _configuration(os.dup(listener.fileno()))
    try:
        asyncio.run(
            _serve(departure, config, local_url(settings.mlflow_host, settings.mlflow_port))
        )
    except OSError as error:
        if error.errno != errno.EADDRINUSE:
            raise
        # Another process began to listen at the same moment.
        raise _refused_address(settings, error) from None
    if departure.reason is Reason.RELOAD:
        become_anew([listener], environment)


async def _serve(departure: Departure, config: Config, url: str) -> None:
    departure.watch()
    async with httpx.AsyncClient(base_url=url, timeout=HEALTH_TIMEOUT, trust_env=False) as client:
        telling = asyncio.create_task(pulse.keep_telling(_look(departure, client)))
        try:
            await serve_application(departure, config, shutdown_trigger=departure.trigger)
        finally:
            telling.cancel()
            await asyncio.wait([telling])


def _look(departure: Departure, client: httpx.AsyncClient) -> Callable[[], Awaitable[str | None]]:
    """How systemd learns that the server is well."""
    movements = 0

    async def look() -> str | None:
        nonlocal movements
        if not departure.accepting.is_set():
            return None
        before, movements = movements, departure.movements
        # While it departs it accepts no connection, and ends within GRACEFUL_TIMEOUT.
        if departure.reason:
            return "finishing what is in flight"
        try:
            answer = await client.get("/health", headers={"Connection": "close"})
        except httpx.HTTPError:
            # All threads may be at work on large files: as long as these move, that is no fault.
            return "busy" if movements > before > 0 else None
        return f"answers at {client.base_url}" if answer.is_success else None

    return look


def _application(settings: MlflowSettings, protection: Protection) -> Any:
    # Only now: MLflow builds its application when it is imported.
    with warnings.catch_warnings(action="ignore"):  # They are for MLflow's own developers.
        application = _protected(settings) if protection is Protection.ON else _open(settings)
    metrics.PROTECTED.set(protection is Protection.ON)
    limited = Bodies(application, *_most_of_bodies(settings))
    audited = AuditMiddleware(limited)
    counted = metrics.MetricsMiddleware(audited, importlib.import_module("mlflow.server").app)
    # MLflow counts on it as uvicorn has it by default: some of its paths are for this machine only.
    proxied = ProxyHeadersMiddleware(counted, trusted_hosts=settings.forwarded_allow_ips)

    async def quiet(scope: Any, receive: Any, send: Any) -> None:
        try:
            await proxied(scope, receive, send)
        except ClientDisconnect:  # In the middle of an upload, of which nothing is kept.
            _log.warning("the client broke off its upload", path=scope["path"])

    return quiet


def _most_of_bodies(settings: MlflowSettings) -> tuple[Callable[[Any], int | None], int, str]:
    """Artifacts go to the disk piece by piece; MLflow takes all else into memory."""
    most = settings.mlflow_max_body_bytes

    def most_of(scope: Any) -> int | None:
        return None if scope["path"].startswith(_ARTIFACTS) else most

    return most_of, BODIES_AT_ONCE * most, "MLFLOW_MAX_BODY_BYTES"


def _open(settings: MlflowSettings) -> Any:
    application = importlib.import_module("mlflow.server.fastapi_app").app
    metrics.add_route(application, settings)
    return application


def _protected(settings: MlflowSettings) -> Any:
    logging.getLogger("mlflow.server.auth").setLevel(logging.ERROR)  # "Still experimental".
    from mlflow_host.accounts import running  # noqa: PLC0415 (builds MLflow's application)

    application = running.create_application(settings)
    metrics.add_route(application, settings)
    return running.guarded(application, settings)


def _configuration(descriptor: int) -> Config:
    config = Config()
    config.bind = [f"fd://{descriptor}"]
    config.logger_class = AccessLogger
    config.accesslog = logging.getLogger("hypercorn.access")
    config.errorlog = logging.getLogger("hypercorn.error")
    config.graceful_timeout = GRACEFUL_TIMEOUT
    config.keep_alive_max_requests = 10**9  # A client that logs a long run keeps one connection.
    config.include_server_header = False
    return config


def _listener(settings: MlflowSettings) -> socket.socket:
    """A socket bound to the address, which does not listen yet: until then clients are refused.

    Only one that a predecessor left does, unless the address has changed since.
    """
    host, port = settings.mlflow_host, settings.mlflow_port
    if left := inherited():
        if listens_on(left, host, port):
            return left
        left.close()
        os.close(FIRST)
    try:
        family, _, _, _, address = socket.getaddrinfo(
            host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
        )[0]
        listener = socket.socket(family, socket.SOCK_STREAM)
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        listener.bind(address)
    except OSError as error:
        raise _refused_address(settings, error) from None
    return listener


def _refused_address(settings: MlflowSettings, error: OSError) -> HostError:
    host, port = settings.mlflow_host, settings.mlflow_port
    if error.errno == errno.EADDRINUSE:
        return HostError(
            f"port {port} of {host} is taken by another process: stop it ('ss -ltnp' names it), or"
            " choose another MLFLOW_PORT"
        )
    return HostError(
        f"cannot listen on port {port} of {host} ({error.strerror}): check MLFLOW_HOST and"
        " MLFLOW_PORT"
    )


def _check(settings: MlflowSettings) -> None:
    """Whether the server could start with these settings."""
    _make_artifacts_folder(settings.mlflow_artifacts_destination)
    _prepare_database(settings)


def _prepare_database(settings: MlflowSettings) -> Protection:
    uri = settings.mlflow_backend_store_uri
    before = database.prepare(uri)
    with database.explained(uri):
        return setup.prepare(settings, is_new=before is database.Schema.EMPTY)


def _tell(settings: MlflowSettings, protection: Protection) -> None:
    if protection is Protection.LATER:
        _log.warning("everybody may change everything", remedy=setup.REMEDY)
    elif protection is Protection.OFF and settings.is_reachable:
        _log.warning("everybody may change everything", remedy="MLFLOW_AUTH=yes")


def _make_artifacts_folder(destination: str) -> None:
    if not destination.startswith("/"):
        return  # An object store.
    folder = Path(destination)
    try:
        folder.mkdir(parents=True, exist_ok=True)
        writable = os.access(folder, os.W_OK | os.X_OK)
        reason = "" if writable else "Permission denied"
    except OSError as error:
        reason = str(error.strerror)
    if reason:
        raise HostError(
            f"the folder {destination} cannot be written ({reason}): make it writable for this"
            " user, or name another one in MLFLOW_ARTIFACTS_DESTINATION"
        )
