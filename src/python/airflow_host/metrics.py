"""What Prometheus may ask this host: how Airflow's parts are, and what they have to do.

Airflow's own exporters push, to StatsD or OpenTelemetry, which takes another server. This page asks
Airflow's database, which all four processes share, and tells what it found for some seconds.
"""

import os
import threading
import time
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import sqlalchemy as sa
from airflow.api.common.airflow_health import get_airflow_health
from airflow.models.dagrun import DagRun
from airflow.models.errors import ParseImportError
from airflow.models.pool import Pool
from airflow.models.taskinstance import TaskInstance
from airflow.utils.session import create_session
from airflow.utils.state import TaskInstanceState
from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.core import GaugeMetricFamily
from prometheus_client.exposition import CONTENT_TYPE_PLAIN_0_0_4
from prometheus_client.registry import Collector
from starlette.concurrency import run_in_threadpool
from starlette.responses import Response
from starlette.types import ASGIApp, Receive, Scope, Send

from hostkit.tls import client, expiry

PATH = "/metrics"

SECONDS_TO_REMEMBER = 10.0
"""How long the page is told again without asking the database."""

_COMPONENTS = ("scheduler", "dag_processor", "triggerer")
_WAITING = (TaskInstanceState.SCHEDULED, TaskInstanceState.QUEUED)


class Metrics:
    """ASGI middleware that answers `GET /metrics`, and nothing else."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app
        self._registry = CollectorRegistry()
        self._registry.register(AirflowCollector())
        self._registry.register(CertificateCollector())

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answers a request, or passes it on."""
        if scope["type"] != "http" or scope["path"] != PATH or scope["method"] != "GET":
            await self._app(scope, receive, send)
            return
        page = await run_in_threadpool(generate_latest, self._registry)
        await Response(page, media_type=CONTENT_TYPE_PLAIN_0_0_4)(scope, receive, send)


class AirflowCollector(Collector):
    """What the database says. Asked for as seldom as `SECONDS_TO_REMEMBER` allows."""

    def __init__(self) -> None:
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
                self._last = list(_ask())
                self._until = time.monotonic() + SECONDS_TO_REMEMBER
            return self._last


class CertificateCollector(Collector):
    """When the certificates end that the settings name."""

    def collect(self) -> Iterator[GaugeMetricFamily]:
        """The metric, with a sample for each file that can be read."""
        given = {name: os.environ.get(name) for name in (client.TRUST, client.IDENTITY)}
        files = {name: Path(text) for name, text in given.items() if text}
        family = GaugeMetricFamily(expiry.METRIC, expiry.METRIC_HELP, labels=["setting"])
        for variable, end in expiry.ends(files):
            family.add_metric([variable], end)
        yield family


def _ask() -> Iterator[GaugeMetricFamily]:
    up = GaugeMetricFamily("tripod_airflow_database_up", "1 while the database answers.")
    try:
        with create_session() as session:
            found = [*_components(get_airflow_health()), *_work(session), *_pools(session)]
        up.add_metric([], 1)
    except sa.exc.SQLAlchemyError:
        found = []
        up.add_metric([], 0)
    yield up
    yield from found


def _components(health: dict[str, Any]) -> Iterator[GaugeMetricFamily]:
    up = GaugeMetricFamily(
        "tripod_airflow_component_up", "1 while a component's heart beats.", labels=["component"]
    )
    age = GaugeMetricFamily(
        "tripod_airflow_heartbeat_age_seconds",
        "Since the last heartbeat of a component.",
        labels=["component"],
    )
    for component in _COMPONENTS:
        state = health[component]
        up.add_metric([component], state["status"] == "healthy")
        if beat := state[f"latest_{component}_heartbeat"]:
            age.add_metric(
                [component], (datetime.now(UTC) - datetime.fromisoformat(beat)).total_seconds()
            )
    yield up
    yield age


def _work(session: Any) -> Iterator[GaugeMetricFamily]:
    yield _counted(
        session,
        GaugeMetricFamily(
            "tripod_airflow_dag_runs", "Runs in the database.", labels=["dag_id", "state"]
        ),
        (DagRun.dag_id, DagRun.state),
    )
    yield _counted(
        session,
        GaugeMetricFamily(
            "tripod_airflow_task_instances", "Task instances in the database.", labels=["state"]
        ),
        (TaskInstance.state,),
    )
    oldest = session.scalar(
        sa.select(sa.func.min(TaskInstance.updated_at)).where(TaskInstance.state.in_(_WAITING))
    )
    yield GaugeMetricFamily(
        "tripod_airflow_oldest_waiting_task_seconds",
        "How long the task that waits longest has been scheduled or queued; 0 if none waits.",
        value=(datetime.now(UTC) - oldest).total_seconds() if oldest else 0,
    )
    yield GaugeMetricFamily(
        "tripod_airflow_import_errors",
        "DAG files that cannot be read.",
        value=session.scalar(sa.select(sa.func.count()).select_from(ParseImportError)),
    )


def _counted(session: Any, family: GaugeMetricFamily, columns: Sequence[Any]) -> GaugeMetricFamily:
    for *labels, count in session.execute(sa.select(*columns, sa.func.count()).group_by(*columns)):
        family.add_metric([str(label or "none") for label in labels], count)
    return family


def _pools(session: Any) -> Iterator[GaugeMetricFamily]:
    slots = GaugeMetricFamily(
        "tripod_airflow_pool_slots", "Slots of a pool by what they do.", labels=["pool", "state"]
    )
    for pool, stats in Pool.slots_stats(session=session).items():
        for state, count in stats.items():
            slots.add_metric([pool, state], float(str(count)))
    yield slots
