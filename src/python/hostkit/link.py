"""A server that a host calls: whether it answers, and if not, why."""

import asyncio
import time
from dataclasses import dataclass

import httpx

from hostkit.doctor.diagnosis import Address, explain
from hostkit.servers import Server

TIMEOUT_SECONDS = 3.0


@dataclass(frozen=True)
class Link:
    """Another server.

    `url`: its base URL.
    `variable`: the setting that holds its URL.
    """

    server: Server
    url: str
    variable: str

    @property
    def name(self) -> str:
        """Which server it is: "mlflow", "airflow" or "api"."""
        return self.server.name


@dataclass(frozen=True)
class LinkState:
    """What a check of a link saw.

    `healthy`: whether the server answered that it is well.
    `detail`: what was seen, for a person.
    `seconds`: how long the check took.
    """

    healthy: bool
    detail: str
    seconds: float


async def check(link: Link, client: httpx.AsyncClient) -> LinkState:
    """Asks a server for its health. Never raises for what the server or the network does."""
    start = time.monotonic()
    try:
        async with asyncio.timeout(TIMEOUT_SECONDS):
            # What it says besides its status is not read: it may be without end.
            async with client.stream("GET", f"{link.url}{link.server.health_path}") as response:
                healthy, detail = response.is_success, _answer(link, response)
    except (httpx.HTTPError, TimeoutError) as error:
        seen = explain(error, Address(link.server, link.url, link.variable)).seen
        healthy, detail = False, f"{seen} ('doctor' says what mends it)"
    return LinkState(healthy, detail, time.monotonic() - start)


def _answer(link: Link, response: httpx.Response) -> str:
    answer = f"{link.server.health_path} answered {response.status_code}"
    if response.is_redirect:
        return f"{answer} and leads to {response.headers['location']}: check {link.variable}"
    return answer
