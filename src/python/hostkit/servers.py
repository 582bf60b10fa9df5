"""The three servers of Tripod as others see them: what to ask, and how each is known."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import httpx


@dataclass(frozen=True)
class Server:
    """One kind of server.

    `name`: "mlflow", "airflow" or "api".
    `title`: what people call it.
    `host`: the host that it is, for instance `mlflow-host`.
    `unit`: what answers HTTP there.
    `health_path`: what answers 200 when it is well.
    `probe_path`: what only such a server answers as `recognises` wants it.
    """

    name: str
    title: str
    host: str
    unit: str
    health_path: str
    probe_path: str
    recognises: Callable[[httpx.Response], bool]

    @property
    def env_file(self) -> str:
        """Where its settings are, on its own machine."""
        return f"/etc/{self.host}/env"


def document(response: httpx.Response) -> dict[str, Any]:
    """The JSON object of an answer; empty where it holds none."""
    try:
        content = response.json()
    except ValueError:
        return {}
    return content if isinstance(content, dict) else {}


def _is_mlflow(response: httpx.Response) -> bool:
    """Also where it wants an account before it says more."""
    wanted = response.headers.get("WWW-Authenticate", "")
    return "experiments" in document(response) or (
        response.status_code == httpx.codes.UNAUTHORIZED and 'realm="mlflow"' in wanted
    )


MLFLOW = Server(
    name="mlflow",
    title="MLflow",
    host="mlflow-host",
    unit="mlflow-host.service",
    health_path="/health",
    # Unlike /health and /version it minds the Host header.
    probe_path="/api/2.0/mlflow/experiments/search?max_results=1",
    recognises=_is_mlflow,
)

AIRFLOW = Server(
    name="airflow",
    title="Airflow",
    host="airflow-host",
    unit="airflow-host-api-server.service",
    health_path="/api/v2/monitor/health",
    probe_path="/api/v2/version",
    recognises=lambda response: {"version", "git_version"} <= document(response).keys(),
)

API = Server(
    name="api",
    title="the API",
    host="api-host",
    unit="api-host.service",
    health_path="/livez",
    probe_path="/",
    recognises=lambda response: document(response).get("host") == "api-host",
)

SERVERS = (MLFLOW, AIRFLOW, API)
