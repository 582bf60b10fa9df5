"""What clients of Airflow 2 expect of the api-server: `/api/v1/health`, and HTTP Basic."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import httpx
from airflow.api.common.airflow_health import get_airflow_health
from airflow.plugins_manager import AirflowPlugin
from fastapi import FastAPI, HTTPException

from airflow_host.basic_auth import BasicAuth
from airflow_host.changes import Changes


@asynccontextmanager
async def _first_request_to_execution_api(_: FastAPI) -> AsyncIterator[None]:
    """Makes the api-server ready before it says so.

    Airflow works out the routes that tasks call when the first task calls them, and answers nothing
    else for these seconds, so that a health check would fail during the first DAG run.
    """
    from airflow.api_fastapi.main import app  # noqa: PLC0415 (is being imported with this plugin)

    async with httpx.AsyncClient(transport=httpx.ASGITransport(app)) as client:
        await client.get("http://api-server/execution/health")
    yield


old_api = FastAPI(
    title="What is left of Airflow 2's API",
    docs_url=None,
    redoc_url=None,
    lifespan=_first_request_to_execution_api,
)


@old_api.get("/health")
def health() -> dict[str, Any]:
    """The state of all four parts, in the same form as Airflow 2 told it."""
    return get_airflow_health()


@old_api.api_route("/{path:path}", methods=["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE"])
def gone(path: str) -> None:
    """Says where the rest of Airflow 2's API went."""
    raise HTTPException(404, f"/api/v1/{path} went with Airflow 2: its successor is below /api/v2")


class CompatibilityPlugin(AirflowPlugin):
    """Found by Airflow, which looks into its plugins folder."""

    name = "tripod_compatibility"
    # Airflow declares these two on the instance and reads them from the class.
    fastapi_apps = [  # noqa: RUF012
        {"name": "health of Airflow 2", "app": old_api, "url_prefix": "/api/v1"}
    ]
    fastapi_root_middlewares = [  # noqa: RUF012
        {"name": "HTTP Basic", "middleware": BasicAuth},
        {"name": "audit", "middleware": Changes},
    ]
