"""What one caller may ask, as callers see it."""

import asyncio
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import grpc
import httpx
import pytest

from api_host.auth.caller import Access, Caller, Rates
from api_host.problems import TOO_MANY_REQUESTS, Problem
from api_host.rates import layer
from api_host.rates.running import limiting
from api_host.rpc.open_inference_pb2 import ServerLiveRequest, ServerMetadataRequest
from api_host.settings import ApiSettings
from tests.api_host import airflow_server
from tests.api_host.airflow_server import AirflowServer
from tests.api_host.conftest import Start, until_served
from tests.api_host.registry_server import RegistryServer
from tests.api_host.test_auth import make_key
from tests.api_host.test_rpc import Client, free_port
from tests.api_host.test_serve import serving, until_well

pytestmark = pytest.mark.anyio

ROW = {"sepal_length": 5.1, "sepal_width": 3.5, "petal_length": 1.4, "petal_width": 0.2}
TRAININGS = "/v1/trainings"
PREDICT = "/v1/models/iris/predict"
LIMITS = "/v1/models"
"""A path that is limited and costs nothing else."""


@pytest.fixture
def airflow() -> Iterator[AirflowServer]:
    with airflow_server.running() as server:
        yield server


def limited(settings: ApiSettings, **variables: object) -> ApiSettings:
    return settings.model_copy(update=variables)


async def refused(answer: httpx.Response) -> str:
    """The detail of an answer that refuses a caller."""
    assert answer.status_code == 429, answer.text
    document = answer.json()
    assert document["type"] == TOO_MANY_REQUESTS.type
    assert int(answer.headers["Retry-After"]) >= 1
    detail: str = document["detail"]
    return detail


async def flood(api: httpx.AsyncClient, count: int, **options: object) -> list[httpx.Response]:
    """The answers to requests of one caller that all come at once."""
    return await asyncio.gather(*(api.get(LIMITS, **options) for _ in range(count)))  # type: ignore[arg-type]


async def test_answers_tell_what_may_be_asked(settings: ApiSettings, start: Start) -> None:
    default = ApiSettings.model_fields["api_rate_requests"].default
    async with start(limited(settings, api_rate_requests=default)) as api:
        headers = (await api.get(LIMITS)).headers
    assert headers["RateLimit-Policy"] == (
        '"requests";q=1000;w=1, "rows";q=1000000;w=1, "concurrent";q=200;qu="concurrent-requests"'
    )
    assert headers["RateLimit"] == '"requests";r=999;t=1'


async def test_requests_past_the_limit_are_refused(settings: ApiSettings, start: Start) -> None:
    async with start(limited(settings, api_rate_requests=3)) as api:
        answers = await flood(api, 40)
        last = next(each for each in answers if each.status_code == 429)
        assert await refused(last) == (
            "address:127.0.0.1 may have 3 requests a second, and has asked for more"
        )
        assert last.headers["RateLimit"] == '"requests";r=0;t=1'
        assert last.headers["Content-Type"] == "application/problem+json"
        counted = (await api.get("/health")).status_code
        assert counted == 503, "no model is served, and nobody is refused"


async def test_no_rows_cost_nothing(settings: ApiSettings) -> None:
    async with limiting(settings) as limiter:
        visit = limiter.visit(Caller("key:shop", frozenset(Access)))
        await visit.use_rows(0)
        assert (b"ratelimit", b'"rows";r=1000000;t=1') in visit.fields()


async def test_rows_past_the_limit_are_refused(
    registry: RegistryServer, settings: ApiSettings, start: Start, models: Path
) -> None:
    registry.promote("iris", models / "linear")
    async with start(limited(settings, api_rate_rows=10)) as api:
        await until_served(api, "1")
        answers = [await api.post(PREDICT, json={"rows": [ROW] * 10}) for _ in range(30)]
        assert answers[0].status_code == 200
        assert '"rows";r=0;t=1' in answers[0].headers["RateLimit"]
        assert "10 rows a second" in await refused(
            next(each for each in answers if each.status_code == 429)
        )


async def test_a_request_with_more_rows_than_a_second_has_takes_them_all(
    registry: RegistryServer, settings: ApiSettings, start: Start, models: Path
) -> None:
    registry.promote("iris", models / "linear")
    async with start(limited(settings, api_rate_rows=10)) as api:
        await until_served(api, "1")
        answer = await api.post(PREDICT, json={"rows": [ROW] * 500})
        assert len(answer.json()["predictions"]) == 500
        assert '"rows";r=0;t=1' in answer.headers["RateLimit"]


async def test_a_stream_that_is_past_the_limit_waits_and_goes_on(
    registry: RegistryServer, settings: ApiSettings, start: Start, models: Path
) -> None:
    registry.promote("iris", models / "linear")
    async with start(limited(settings, api_rate_rows=2000)) as api:
        await until_served(api, "1")
        line = httpx.Request("POST", "http://api", json=ROW).content + b"\n"
        answer = await api.post(
            PREDICT, content=line * 5000, headers={"Content-Type": "application/x-ndjson"}
        )
    lines = answer.text.splitlines()
    assert len(lines) == 5000
    assert "problem" not in answer.text


async def test_requests_at_once_past_the_limit_are_refused(
    settings: ApiSettings, airflow: AirflowServer, start: Start
) -> None:
    few = limited(settings, api_rate_concurrent=2, airflow_base_url=airflow.url)
    async with start(few) as api:
        answers = await asyncio.gather(*(api.get(f"{TRAININGS}/none") for _ in range(20)))
        statuses = [answer.status_code for answer in answers]
        assert 404 in statuses
        last = next(each for each in answers if each.status_code == 429)
        assert "2 requests at once" in await refused(last)
        assert '"concurrent";r=0' in last.headers["RateLimit"]
        again = await api.get(f"{TRAININGS}/none")
        assert again.status_code == 404


async def test_trainings_past_the_limit_are_refused_and_a_repeated_one_costs_nothing(
    settings: ApiSettings, airflow: AirflowServer, start: Start
) -> None:
    few = limited(settings, api_rate_trainings=2, airflow_base_url=airflow.url)
    async with start(few) as api:
        for _ in range(5):
            same = await api.post(TRAININGS, headers={"Idempotency-Key": "nightly"})
            assert same.status_code == 202
        wrong = await api.post(TRAININGS, json={"margin": "much"})
        assert wrong.status_code == 422
        assert (await api.post(TRAININGS)).status_code == 202
        last = await api.post(TRAININGS)
        assert "2 trainings an hour" in await refused(last)
        assert int(last.headers["Retry-After"]) > 1
        assert re.search(r'"trainings";r=0;t=\d+', last.headers["RateLimit"])
        same = await api.post(TRAININGS, headers={"Idempotency-Key": "nightly"})
        assert same.status_code == 202
        assert len(airflow.runs) == 2


@pytest.mark.parametrize("path", sorted(layer.HEALTH))
async def test_health_is_never_limited(settings: ApiSettings, start: Start, path: str) -> None:
    async with start(limited(settings, api_rate_requests=1, api_rate_concurrent=1)) as api:
        answers = await asyncio.gather(*(api.get(path) for _ in range(20)))
    assert {answer.status_code for answer in answers} <= {200, 503}
    assert "RateLimit" not in answers[0].headers


@pytest.mark.parametrize("off", [None, 0])
async def test_limits_can_be_turned_off(
    settings: ApiSettings, start: Start, off: int | None
) -> None:
    names = ("requests", "rows", "concurrent", "trainings", "guesses")
    every: dict[str, object] = {f"api_rate_{name}": off for name in names}
    async with start(limited(settings, **every)) as api:
        answers = await flood(api, 300)
    assert {answer.status_code for answer in answers} == {200}
    assert "RateLimit-Policy" not in answers[0].headers


async def test_who_is_no_proxy_cannot_be_somebody_else(settings: ApiSettings, start: Start) -> None:
    strict = limited(settings, api_rate_requests=1, forwarded_allow_ips=())
    async with start(strict) as api:
        answers = [
            await api.get(LIMITS, headers={"X-Forwarded-For": f"192.0.2.{number}"})
            for number in range(60)
        ]
    last = next(each for each in answers if each.status_code == 429)
    assert "address:127.0.0.1 may have 1 requests" in await refused(last)


async def test_clients_of_a_proxy_are_callers_of_their_own(
    settings: ApiSettings, start: Start
) -> None:
    async with start(limited(settings, api_rate_requests=1)) as api:
        for number in range(60):
            real = f"192.0.2.{number}"
            answer = await api.get(LIMITS, headers={"X-Forwarded-For": f"203.0.113.5, {real}"})
            assert answer.status_code == 200


async def test_a_caller_s_own_rates_win(settings: ApiSettings) -> None:
    shop = Caller("key:shop", frozenset(Access), rates=Rates(requests=1))
    every = Caller("key:press", frozenset(Access))
    async with limiting(limited(settings, api_rate_requests=2000)) as limiter:
        visits = [limiter.visit(shop) for _ in range(50)]
        with pytest.raises(Problem, match="key:shop may have 1 requests a second"):
            await asyncio.gather(*(visit.enter() for visit in visits))
        await limiter.visit(every).enter()


async def test_an_address_that_guesses_keys_is_refused_before_it_is_heard(
    settings: ApiSettings, start: Start, tmp_path: Path
) -> None:
    guarded: dict[str, object] = {
        "api_auth": "yes",
        "api_keys_file": tmp_path / "keys.json",
        "api_rate_guesses": 5,
    }
    key = make_key(tmp_path / "keys.json", "shop", Access.PREDICT)
    async with start(limited(settings, **guarded)) as api:

        async def ask(shown: str, address: str) -> httpx.Response:
            return await api.get(LIMITS, headers={"X-API-Key": shown, "X-Forwarded-For": address})

        answers = [await ask(f"wrong-{number}", "2001:db8::1") for number in range(7)]
        assert [answer.status_code for answer in answers] == [401] * 5 + [429] * 2
        assert "may have 5 guesses a minute" in await refused(answers[-1])
        neighbour = await ask("wrong", "2001:db8::2")
        assert neighbour.status_code == 429, "of the same site"
        assert (await ask("wrong", "2001:db8:0:1::1")).status_code == 401
        assert (await ask(key, "2001:db8::1")).status_code == 200


async def test_what_is_refused_for_who_asks_counts_too(
    settings: ApiSettings, start: Start, tmp_path: Path
) -> None:
    guarded: dict[str, object] = {
        "api_auth": "yes",
        "api_keys_file": tmp_path / "keys.json",
        "api_rate_requests": 1,
    }
    key = make_key(tmp_path / "keys.json", "shop", Access.PREDICT)
    async with start(limited(settings, **guarded)) as api:
        answers = [await api.post(TRAININGS, headers={"X-API-Key": key}) for _ in range(60)]
        assert {answer.status_code for answer in answers} == {403, 429}
        strangers = [await api.get(LIMITS) for _ in range(60)]
        assert {answer.status_code for answer in strangers} == {401, 429}


async def test_grpc_says_when_to_come_again_and_knows_the_client(
    settings: ApiSettings, start: Start
) -> None:
    few = limited(settings, api_rate_requests=2, api_grpc_port=free_port())
    async with (
        start(few),
        grpc.aio.insecure_channel(f"127.0.0.1:{few.api_grpc_port}") as channel,
    ):
        client = Client(channel)
        calls = (client.call("ServerMetadata", ServerMetadataRequest()) for _ in range(30))
        answers = await asyncio.gather(*calls)
        last = next(each for each in answers if each.code is not grpc.StatusCode.OK)
        assert last.code is grpc.StatusCode.RESOURCE_EXHAUSTED
        assert last.detail.startswith("address:127.0.0.1 may have 2 requests a second")
        assert last.metadata["problem-type"] == TOO_MANY_REQUESTS.type
        seconds = last.metadata["retry-after"]
        assert seconds in ("1", "2")
        assert last.metadata["grpc-retry-pushback-ms"] == f"{seconds}000"
        for _ in range(30):
            assert (await client.ask("ServerLive", ServerLiveRequest())).live


def test_workers_share_what_a_caller_may_ask_and_a_restart_forgets_nothing(
    registry: RegistryServer, airflow: AirflowServer, tmp_path: Path
) -> None:
    variables: dict[str, Any] = {
        "AIRFLOW_BASE_URL": airflow.url,
        "API_RATE_TRAININGS": "3",
        "RUNTIME_DIRECTORY": str(tmp_path / "run"),
    }
    folders = [tmp_path / name for name in ("one", "other")]
    for folder in folders:
        folder.mkdir()
    ports = [free_port(), free_port()]

    def train(port: int) -> int:
        return httpx.post(f"http://127.0.0.1:{port}{TRAININGS}", timeout=30).status_code

    with (
        serving(registry, folders[0], ports[0], **variables) as one,
        serving(registry, folders[1], ports[1], **variables) as other,
    ):
        for port, process in zip(ports, (one, other), strict=True):
            with httpx.Client(base_url=f"http://127.0.0.1:{port}") as api:
                until_well(api, process, "/livez")
        assert [train(port) for port in ports * 2] == [202, 202, 202, 429]
    with serving(registry, folders[0], ports[0], **variables) as one:
        with httpx.Client(base_url=f"http://127.0.0.1:{ports[0]}") as api:
            until_well(api, one, "/livez")
        assert train(ports[0]) == 429


async def test_one_caller_s_flood_is_not_another_s(
    registry: RegistryServer, tmp_path: Path, models: Path
) -> None:
    registry.promote("iris", models / "linear")
    port = free_port()
    url = f"http://127.0.0.1:{port}"

    async def keep_asking(
        api: httpx.AsyncClient, statuses: list[int], until: asyncio.Event
    ) -> None:
        while not until.is_set():
            statuses.append((await api.post(PREDICT, json={"rows": [ROW]})).status_code)

    with serving(registry, tmp_path, port, API_RATE_REQUESTS="20") as process:
        with httpx.Client(base_url=url) as api:
            until_well(api, process, "/readyz")
        ended, flooding = asyncio.Event(), list[int]()
        # Two addresses of this machine are two callers.
        honest = httpx.AsyncHTTPTransport(local_address="127.0.0.2")
        async with (
            httpx.AsyncClient(base_url=url, timeout=60) as rude,
            httpx.AsyncClient(base_url=url, timeout=60, transport=honest) as polite,
        ):
            flood = [asyncio.create_task(keep_asking(rude, flooding, ended)) for _ in range(30)]
            statuses = []
            for _ in range(15):
                answer = await polite.post(PREDICT, json={"rows": [ROW]})
                statuses.append(answer.status_code)
            ended.set()
            await asyncio.gather(*flood)
    assert statuses == [200] * 15
    assert flooding.count(429) > flooding.count(200)
    assert set(flooding) == {200, 429}
