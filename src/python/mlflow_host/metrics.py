"""What Prometheus may ask this host: its requests by route, and what its database holds.

MLflow has an exporter of its own, which does not fit here: it sees only those of MLflow's routes
that are Flask's, none of the artifacts' for instance, tells no route from another, and shares its
numbers among processes by files that nobody removes. We are one process.
"""

import os
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import sqlalchemy as sa
from prometheus_client import (
    REGISTRY,
    Counter,
    Gauge,
    Histogram,
    disable_created_metrics,
    generate_latest,
)
from prometheus_client.core import GaugeMetricFamily
from prometheus_client.exposition import CONTENT_TYPE_PLAIN_0_0_4
from prometheus_client.registry import Collector
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Mount, Route
from werkzeug.exceptions import HTTPException
from werkzeug.routing import MapAdapter, RequestRedirect

from hostkit.tls import expiry
from mlflow_host.settings import MlflowSettings

PATH = "/metrics"
UNKNOWN = "none"
"""A path that no route has gets no label of its own: callers would make up labels without end."""

SECONDS_TO_REMEMBER = 30.0
"""How long what the database holds is told again without asking it."""

disable_created_metrics()  # type: ignore[no-untyped-call]

REQUESTS = Counter(
    "tripod_mlflow_requests", "Requests answered.", ("route", "method", "status"), registry=REGISTRY
)
SECONDS = Histogram(
    "tripod_mlflow_request_seconds",
    "Time from the first byte of a request to the last of its answer.",
    ("route",),
    buckets=(0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 60, 600),
)
RECEIVED = Counter("tripod_mlflow_received_bytes", "Bytes of bodies that came in.", ("route",))
SENT = Counter("tripod_mlflow_sent_bytes", "Bytes of bodies that went out.", ("route",))

PROTECTED = Gauge("tripod_mlflow_protected", "1 while callers need an account.")

_COUNTS = (
    ("tripod_mlflow_experiments", "Experiments, deleted ones too.", "experiments", None),
    ("tripod_mlflow_runs", "Runs, deleted ones too.", "runs", "status"),
    ("tripod_mlflow_registered_models", "Models in the registry.", "registered_models", None),
    ("tripod_mlflow_model_versions", "Versions of models.", "model_versions", None),
)
"""Metric, description, table, and the column that becomes a label."""


class MetricsMiddleware:
    """Counts what an application answers, and answers `GET /metrics` as one of its routes."""

    def __init__(self, application: Any, flask: Any) -> None:
        self._application = application
        self._flask = flask.url_map.bind("")

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        """Passes one request on."""
        if scope["type"] != "http":
            await self._application(scope, receive, send)
            return
        start = time.perf_counter()
        status, received, sent = 0, 0, 0

        async def counting_receive() -> Any:
            nonlocal received
            message = await receive()
            received += len(message.get("body", b""))
            return message

        async def counting_send(message: Any) -> None:
            nonlocal status, sent
            if message["type"] == "http.response.start":
                status = message["status"]
            sent += len(message.get("body", b""))
            await send(message)

        try:
            await self._application(scope, counting_receive, counting_send)
        finally:
            route = _route(scope, self._flask)
            REQUESTS.labels(route, scope["method"], status or UNKNOWN).inc()
            SECONDS.labels(route).observe(time.perf_counter() - start)
            RECEIVED.labels(route).inc(received)
            SENT.labels(route).inc(sent)


def _route(scope: Any, flask: MapAdapter) -> str:
    """The template of the route that answered, such as `/api/2.0/mlflow/runs/create`."""
    if scope["path"] == PATH:
        return PATH
    route = scope.get("route")
    if route is not None and not isinstance(route, Mount):
        return str(route.path)
    try:
        rule, _ = flask.match(scope["path"], method=scope["method"], return_rule=True)
    except (HTTPException, RequestRedirect):
        return UNKNOWN
    return str(rule.rule)


def add_route(application: Any, settings: MlflowSettings) -> None:
    """Gives MLflow's application the page, so that its checks of the caller hold for it too."""
    REGISTRY.register(Contents(settings))
    # In front of the mount of Flask, which takes every path.
    application.router.routes.insert(0, Route(PATH, _page, methods=["GET"]))


def _page(_: Request) -> Response:
    # No coroutine, so that Starlette runs it in a thread: it asks the database.
    return Response(generate_latest(REGISTRY), media_type=CONTENT_TYPE_PLAIN_0_0_4)


class Contents(Collector):
    """What the host keeps. Asked for as seldom as `SECONDS_TO_REMEMBER` allows."""

    def __init__(self, settings: MlflowSettings) -> None:
        self._certificates = expiry.files_of(settings)
        self._url = settings.mlflow_backend_store_uri
        self._artifacts = settings.mlflow_artifacts_destination
        self._lock = threading.Lock()
        self._until = 0.0
        self._last: list[GaugeMetricFamily] = []

    def describe(self) -> list[GaugeMetricFamily]:
        """Their names, without asking the database."""
        return []

    def collect(self) -> list[GaugeMetricFamily]:
        """The metrics, which may be some seconds old."""
        with self._lock:
            if time.monotonic() >= self._until:
                self._last = list(self._ask())
                self._until = time.monotonic() + SECONDS_TO_REMEMBER
            return self._last

    def _ask(self) -> Iterator[GaugeMetricFamily]:
        up = GaugeMetricFamily("tripod_mlflow_database_up", "1 while the database answers.")
        try:
            counts = list(_counts(self._url))
            up.add_metric([], 1)
        except sa.exc.SQLAlchemyError:
            counts = []
            up.add_metric([], 0)
        yield up
        yield from counts
        certificates = GaugeMetricFamily(expiry.METRIC, expiry.METRIC_HELP, labels=["setting"])
        for variable, end in expiry.ends(self._certificates):
            certificates.add_metric([variable], end)
        yield certificates
        if self._artifacts.startswith("/") and Path(self._artifacts).is_dir():
            room = os.statvfs(self._artifacts)
            yield GaugeMetricFamily(
                "tripod_mlflow_artifacts_free_bytes",
                "Room on the disk of the artifacts.",
                value=room.f_bavail * room.f_frsize,
            )


def _counts(url: str) -> Iterator[GaugeMetricFamily]:
    engine = sa.create_engine(url, poolclass=sa.NullPool)
    with engine.connect() as connection:
        for name, description, table, label in _COUNTS:
            family = GaugeMetricFamily(name, description, labels=[label] if label else [])
            source = sa.table(table, *([sa.column(label)] if label else []))
            columns = list(source.columns)
            question = sa.select(*columns, sa.func.count()).select_from(source).group_by(*columns)
            for *labels, count in connection.execute(question):
                family.add_metric([str(text or UNKNOWN) for text in labels], count)
            yield family
