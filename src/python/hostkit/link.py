"""A server that a host calls: whether it answers, and if not, at which step and why."""

import asyncio
import socket
import ssl
import time
from collections.abc import Iterator
from dataclasses import dataclass

import httpx

TIMEOUT_SECONDS = 3.0


@dataclass(frozen=True)
class Link:
    """Another server.

    `name`: "mlflow", "airflow" or "api".
    `url`: its base URL.
    `health_path`: what answers 200 when it is well.
    `variable`: the setting that holds its URL.
    """

    name: str
    url: str
    health_path: str
    variable: str


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
            response = await client.get(f"{link.url}{link.health_path}")
        healthy, detail = response.is_success, _answer(link, response)
    except (httpx.HTTPError, TimeoutError) as error:
        healthy, detail = False, _diagnosis(link, error)
    return LinkState(healthy, detail, time.monotonic() - start)


def _answer(link: Link, response: httpx.Response) -> str:
    answer = f"{link.health_path} answered {response.status_code}"
    if response.is_redirect:
        return f"{answer} and leads to {response.headers['location']}: check {link.variable}"
    return answer


def _diagnosis(link: Link, error: httpx.HTTPError | TimeoutError) -> str:
    host = httpx.URL(link.url).host
    for cause in _causes(error):
        match cause:
            case TimeoutError() | httpx.TimeoutException():
                seconds = f"{TIMEOUT_SECONDS:g} s"
                return f"{link.url} did not answer within {seconds}: check network and firewalls"
            case socket.gaierror():
                return f"the name {host} is unknown: check {link.variable}"
            case ssl.SSLCertVerificationError():
                return f"the certificate of {host} is not trusted: {cause.verify_message}"
            case ssl.SSLError():
                return f"{link.url} does not speak TLS: should {link.variable} begin with http://?"
            case ConnectionRefusedError():
                return f"{link.url} refuses connections: is it running?"
    return f"{link.url} cannot be reached ({error or type(error).__name__}): check {link.variable}"


def _causes(error: BaseException) -> Iterator[BaseException]:
    cause: BaseException | None = error
    while cause is not None:
        yield cause
        cause = cause.__cause__ or cause.__context__
