"""Versions other than the served ones, loaded when a caller asks; only a few of them are kept."""

import asyncio
from collections import OrderedDict
from datetime import UTC, datetime

from api_host.catalog import Served
from api_host.loader import Loader
from api_host.registry import Registry


class Extras:
    """The versions that were asked for last.

    `most`: how many are kept.
    """

    def __init__(self, registry: Registry, loader: Loader, *, most: int) -> None:
        self._registry = registry
        self._loader = loader
        self._most = most
        self._loads: OrderedDict[tuple[str, str], asyncio.Task[Served]] = OrderedDict()

    async def get(self, name: str, version: str) -> Served:
        """A version of a model; all who ask for it while it loads wait for the same load."""
        key = name, version
        if key not in self._loads:
            self._loads[key] = asyncio.create_task(self._load(name, version))
        self._loads.move_to_end(key)
        while len(self._loads) > self._most:
            self._loads.popitem(last=False)
        # One who goes away does not stop the load for the others.
        return await asyncio.shield(self._loads[key])

    async def _load(self, name: str, version: str) -> Served:
        try:
            found = await self._registry.version(name, version)
            return Served(found, await self._loader.load(found), None, datetime.now(UTC))
        except BaseException:
            self._loads.pop((name, version), None)  # The next who asks tries again.
            raise
