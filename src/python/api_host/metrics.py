"""What Prometheus may ask this host."""

import hashlib
import shutil
from functools import lru_cache
from pathlib import Path

from prometheus_client import (
    REGISTRY,
    Counter,
    Gauge,
    Histogram,
    disable_created_metrics,
    generate_latest,
    values,
)
from prometheus_client.exposition import CONTENT_TYPE_PLAIN_0_0_4
from starlette.requests import Request
from starlette.responses import Response

from api_host.models.registry import ModelVersion
from api_host.settings import ApiSettings
from api_host.workers.counts import Counts
from api_host.workers.together import Workers
from hostkit.tls import expiry

_COUNTS = Counts()
values.ValueClass = _COUNTS.value

disable_created_metrics()  # type: ignore[no-untyped-call]

REQUESTS = Counter(
    "tripod_api_requests", "Requests answered.", ("route", "method", "status"), registry=REGISTRY
)
SECONDS = Histogram(
    "tripod_api_request_seconds",
    "Time from the first byte of a request to the last of its answer.",
    ("route",),
    buckets=(0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30),
)
ROWS = Counter("tripod_api_predicted_rows", "Rows predicted.", ("model", "version"))
BATCHES = Histogram(
    "tripod_api_batch_requests",
    "Requests that one call of a model answered; those that need no thread are not counted.",
    ("model",),
    buckets=(1, 2, 4, 8, 16, 32, 64, 128),
)
REFUSED = Counter(
    "tripod_api_refused_predictions", "Predictions refused as too many waited.", ("model",)
)
REFUSED_CONNECTIONS = Counter(
    "tripod_api_refused_connections", "Connections refused as there were too many."
)
REFUSED_CALLERS = Counter(
    "tripod_api_refused_callers", "Requests refused for who asks.", ("reason",)
)
REFUSED_REQUESTS = Counter(
    "tripod_api_refused_requests", "Requests refused as their caller asked too much.", ("limit",)
)
RATES_SHARED = Gauge(
    "tripod_api_rates_shared", "1 while rates are counted in Redis, for all hosts together."
)
SERVED = Gauge("tripod_api_model_served", "1 for the version that serves.", ("model", "version"))
SWAPS = Counter("tripod_api_model_swaps", "How often another version began to serve.", ("model",))
PROBLEMS = Counter(
    "tripod_api_model_problems", "How often a version could not be served.", ("model",)
)
REFUSALS = Counter(
    "tripod_api_model_refusals",
    "How often a version was refused whose files are not what a trusted key has signed.",
    ("model",),
)
NOT_TRUSTED = Gauge(
    "tripod_api_model_not_trusted",
    "1 while the version that the registry wants is refused for that.",
    ("model",),
)
LINKS = Gauge("tripod_api_link_up", "1 while the other server is well.", ("link",))
# Whoever is asked reads the files: no worker tells the others.
CERTIFICATES = Gauge(expiry.METRIC, expiry.METRIC_HELP, ("setting",), registry=None)

_COUNTED = tuple(each for each in (*globals().values(),) if isinstance(each, Counter | Histogram))
_LOWEST = frozenset({"tripod_api_rates_shared", "tripod_api_link_up"})
"""Gauges that tell the worst where the lowest of all workers' is shown."""


# A look-up of labels costs more than the count itself.
_requests = lru_cache(1000)(REQUESTS.labels)
_seconds = lru_cache(1000)(SECONDS.labels)
_rows = lru_cache(1000)(ROWS.labels)


def note_request(route: str, method: str, status: int | str | None, seconds: float) -> None:
    """Notes an answer; `status` is None if there was none."""
    _requests(route, method, status or "none").inc()
    _seconds(route).observe(seconds)


def note_rows(version: ModelVersion, count: int) -> None:
    """Notes rows that a version predicted from."""
    _rows(version.name, version.version).inc(count)


def note_swap(version: ModelVersion, before: ModelVersion | None) -> None:
    """Notes that a version serves, instead of the one before."""
    if before is not None:
        SERVED.remove(before.name, before.version)
    SERVED.labels(version.name, version.version).set(1)
    SWAPS.labels(version.name).inc()


def share(settings: ApiSettings) -> Workers | None:
    """Counts together with the other workers from now on; None: there are none.

    Raises `HostError`.
    """
    folder = settings.metrics_folder
    if settings.api_workers == 1:
        # Of when there were several: what was counted then would come back with the next one.
        shutil.rmtree(folder, ignore_errors=True)
        return None
    edition = hashlib.sha256(Path(__file__).read_bytes()).hexdigest()
    return Workers(folder, edition, _COUNTS, _COUNTED, _LOWEST)


async def metrics(request: Request) -> Response:
    """`GET /metrics`."""
    CERTIFICATES.clear()
    for variable, end in expiry.ends(expiry.files_of(request.app.state.host.settings)):
        CERTIFICATES.labels(variable).set(end)
    page = generate_latest(request.app.state.metrics) + generate_latest(CERTIFICATES)
    return Response(page, media_type=CONTENT_TYPE_PLAIN_0_0_4)
