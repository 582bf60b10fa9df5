"""Where it is counted what callers use: for all workers of this host."""

from functools import lru_cache
from typing import Protocol

from api_host.rates.storage import Windows, record_name
from api_host.rates.windows import Quota, Use, Window

MOST_NAMES = 10_000


class Counter(Protocol):
    """Counts what callers use."""

    async def use(self, quota: Quota, caller: str, amount: int) -> Use:
        """Uses so much, if it may be used. A negative amount gives it back."""

    async def window(self, quota: Quota, caller: str) -> Window:
        """What was used lately."""

    async def close(self) -> None:
        """Ends it."""


class LocalCounter:
    """Counts for all workers of this host."""

    def __init__(self, windows: Windows) -> None:
        self._windows = windows
        self._name = lru_cache(MOST_NAMES)(_name)

    async def use(self, quota: Quota, caller: str, amount: int) -> Use:
        """Uses so much, if it may be used."""
        return self._windows.use(self._name(quota.name, caller), quota, amount)

    async def window(self, quota: Quota, caller: str) -> Window:
        """What was used lately."""
        return self._windows.window(self._name(quota.name, caller), quota)

    async def close(self) -> None:
        """Has nothing to end."""


def _name(what: str, caller: str) -> bytes:
    return record_name(f"{what}/{caller}")
