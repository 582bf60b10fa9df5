"""The other servers that this host calls, and how they are."""

import asyncio
from datetime import UTC, datetime

import httpx
import structlog

from api_host import metrics
from api_host.settings import ApiSettings
from hostkit.link import Link, LinkState, check

CHECK_SECONDS = 5.0

_log = structlog.get_logger("api_host.links")


def links_of(settings: ApiSettings) -> tuple[Link, Link]:
    """MLflow and Airflow, as the settings name them."""
    return (
        Link("mlflow", settings.mlflow_tracking_uri, "/health", "MLFLOW_TRACKING_URI"),
        Link("airflow", settings.airflow_base_url, "/api/v2/monitor/health", "AIRFLOW_BASE_URL"),
    )


class Links:
    """Checks the links again and again.

    `states`: what the last check of each saw, and when; empty before the first.
    """

    def __init__(self, links: tuple[Link, ...], client: httpx.AsyncClient) -> None:
        self.links = links
        self.states: dict[str, tuple[LinkState, datetime]] = {}
        self._client = client

    async def run(self) -> None:
        """Checks for ever."""
        while True:
            await asyncio.gather(*(self._check(link) for link in self.links))
            await asyncio.sleep(CHECK_SECONDS)

    async def _check(self, link: Link) -> None:
        before = self.states.get(link.name)
        state = await check(link, self._client)
        self.states[link.name] = state, datetime.now(UTC)
        metrics.LINKS.labels(link.name).set(state.healthy)
        if before is None or before[0].healthy != state.healthy:
            log = _log.info if state.healthy else _log.warning
            log("link", link=link.name, healthy=state.healthy, detail=state.detail)
