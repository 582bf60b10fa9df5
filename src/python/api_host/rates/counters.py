"""Where it is counted what callers use: for all workers of this host."""

from typing import Protocol

from limits.strategies import SlidingWindowCounterRateLimiter

from api_host.rates.storage import LocalStorage
from api_host.rates.windows import Quota, Window


class Counter(Protocol):
    """Counts what callers use."""

    async def use(self, quota: Quota, caller: str, amount: int) -> bool:
        """Uses so much, if it may be used. A negative amount gives it back."""

    async def window(self, quota: Quota, caller: str) -> Window:
        """What was used lately."""

    async def close(self) -> None:
        """Ends it."""


class LocalCounter:
    """Counts for all workers of this host."""

    def __init__(self, storage: LocalStorage) -> None:
        self._limiter = SlidingWindowCounterRateLimiter(storage)
        self._storage = storage

    async def use(self, quota: Quota, caller: str, amount: int) -> bool:
        """Uses so much, if it may be used."""
        return self._limiter.hit(quota.item, caller, cost=amount)

    async def window(self, quota: Quota, caller: str) -> Window:
        """What was used lately."""
        key = quota.item.key_for(caller)
        previous, seconds, current, _ = self._storage.get_sliding_window(key, quota.seconds)
        return Window(previous, seconds, current)

    async def close(self) -> None:
        """Has nothing to end."""
