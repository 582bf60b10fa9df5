"""Rates of several hosts, counted in a real Redis; and while it is away."""

from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
from prometheus_client import REGISTRY

from api_host.auth.caller import Access, Caller
from api_host.problems import Problem
from api_host.rates import shared
from api_host.rates.limiter import Limiter
from api_host.rates.running import limiting
from api_host.settings import ApiSettings
from tests.api_host.redis_server import RedisServer

pytestmark = pytest.mark.anyio

SHOP = Caller("key:shop", frozenset(Access))


@pytest.fixture
def redis(tmp_path: Path) -> Iterator[RedisServer]:
    server = RedisServer(tmp_path)
    server.start()
    yield server
    server.stop()


@asynccontextmanager
async def host(url: str, folder: Path) -> AsyncIterator[Limiter]:
    """A host of its own, as far as it counts."""
    settings = ApiSettings.model_validate(
        {"STATE_DIRECTORY": folder, "API_RATES_URL": url, "API_RATE_TRAININGS": 4}
    )
    async with limiting(settings) as limiter:
        yield limiter


def counts_together() -> float | None:
    return REGISTRY.get_sample_value("tripod_api_rates_shared")


async def may_train(limiter: Limiter) -> bool:
    async with limiter.visit(SHOP).training() as start:
        start.started = True
        return start.refusal is None


async def test_hosts_count_together(redis: RedisServer, tmp_path: Path) -> None:
    async with host(redis.url, tmp_path / "a") as one, host(redis.url, tmp_path / "b") as other:
        assert [await may_train(each) for each in (one, other) * 3] == [True] * 4 + [False] * 2


async def test_a_refusal_says_when_to_come_again(redis: RedisServer, tmp_path: Path) -> None:
    async with host(redis.url, tmp_path) as limiter:
        for _ in range(4):
            assert await may_train(limiter)
        async with limiter.visit(SHOP).training() as start:
            assert isinstance(start.refusal, Problem)
            assert 3500 < int(start.refusal.headers["Retry-After"]) <= 7200


async def test_what_was_not_started_is_given_back(redis: RedisServer, tmp_path: Path) -> None:
    async with host(redis.url, tmp_path) as limiter:
        for _ in range(10):
            async with limiter.visit(SHOP).training() as start:
                assert start.refusal is None
        assert [await may_train(limiter) for _ in range(5)] == [True] * 4 + [False]


async def test_a_host_counts_by_itself_while_redis_is_away(
    redis: RedisServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(shared, "PAUSE_SECONDS", 0.0)
    async with host(redis.url, tmp_path) as limiter:
        assert await may_train(limiter)
        assert counts_together() == 1
        redis.stop()
        assert [await may_train(limiter) for _ in range(5)] == [True] * 4 + [False]
        assert counts_together() == 0
        redis.start()
        assert await may_train(limiter)
        assert counts_together() == 1


async def test_a_redis_that_is_asked_for_with_the_wrong_password_is_away(
    redis: RedisServer, tmp_path: Path
) -> None:
    async with host(redis.url.replace("secret", "wrong"), tmp_path) as limiter:
        assert [await may_train(limiter) for _ in range(5)] == [True] * 4 + [False]
        assert counts_together() == 0
