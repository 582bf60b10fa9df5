"""Counts what callers use in Redis, for several hosts."""

import asyncio
import time
from collections.abc import Awaitable, Callable
from typing import TypeVar

import structlog
from limits import RateLimitItem, RateLimitItemPerSecond
from limits.aio.storage import RedisStorage
from limits.aio.strategies import SlidingWindowCounterRateLimiter
from limits.errors import StorageError
from redis.asyncio import ConnectionPool

from api_host import metrics
from api_host.rates.counters import LocalCounter
from api_host.rates.windows import Quota, Use, Window

SECONDS = 1.0
ANSWER_SECONDS = 0.25 * SECONDS
"""How long Redis may take: a request waits for it."""

PAUSE_SECONDS = 5 * SECONDS
"""How long it is not asked where it did not answer."""

T = TypeVar("T")

_log = structlog.get_logger("api_host.rates")


class SharedCounter:
    """Counts in Redis for all hosts; for this one alone while Redis does not answer."""

    def __init__(self, url: str, local: LocalCounter) -> None:
        self._pool = ConnectionPool.from_url(
            url, socket_timeout=ANSWER_SECONDS, socket_connect_timeout=ANSWER_SECONDS
        )
        self._storage = RedisStorage(
            f"async+{url}",
            wrap_exceptions=True,
            implementation="redispy",
            key_prefix="tripod",
            connection_pool=self._pool,  # type: ignore[arg-type]
        )
        self._limiter = SlidingWindowCounterRateLimiter(self._storage)
        self._local = local
        self._away_until = 0.0
        metrics.RATES_SHARED.set(1)

    async def use(self, quota: Quota, caller: str, amount: int) -> Use:
        """Uses so much, if it may be used."""

        async def use() -> Use:
            may = await self._limiter.hit(_item(quota), caller, cost=amount)
            return Use(may, await self._window(quota, caller))

        return await self._ask(use, lambda: self._local.use(quota, caller, amount))

    async def window(self, quota: Quota, caller: str) -> Window:
        """What was used lately."""
        return await self._ask(
            lambda: self._window(quota, caller), lambda: self._local.window(quota, caller)
        )

    async def _window(self, quota: Quota, caller: str) -> Window:
        key = _item(quota).key_for(caller)
        previous, _, current, seconds = await self._storage.get_sliding_window(key, quota.seconds)
        # Redis forgets the current window when it has faded: at twice its length.
        return Window(previous, max(0.0, seconds - quota.seconds), current, quota.seconds)

    async def _ask(
        self, shared: Callable[[], Awaitable[T]], local: Callable[[], Awaitable[T]]
    ) -> T:
        if self._is_away:
            return await local()
        try:
            async with asyncio.timeout(ANSWER_SECONDS):
                found = await shared()
        except (StorageError, OSError) as error:
            self._note_away(error)
            return await local()
        self._note_here()
        return found

    async def close(self) -> None:
        """Ends the connections."""
        await self._pool.aclose()

    @property
    def _is_away(self) -> bool:
        return time.monotonic() < self._away_until

    def _note_away(self, error: Exception) -> None:
        if not self._away_until:
            _log.warning(
                "rates are counted for this host alone, as Redis does not answer",
                error=str(error) or type(error).__name__,
            )
        self._away_until = time.monotonic() + PAUSE_SECONDS
        metrics.RATES_SHARED.set(0)

    def _note_here(self) -> None:
        if self._away_until:
            _log.info("rates are counted for all hosts again")
            self._away_until = 0.0
            metrics.RATES_SHARED.set(1)


def _item(quota: Quota) -> RateLimitItem:
    """A quota as the library knows it."""
    return RateLimitItemPerSecond(quota.amount, quota.seconds, namespace=quota.name)
