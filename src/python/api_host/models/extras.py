"""Versions other than the served ones, loaded when a caller asks; only a few of them are kept."""

import asyncio
from collections import OrderedDict
from datetime import UTC, datetime

from api_host.models.catalog import Catalog, Served
from api_host.models.loader import Loader
from api_host.models.registry import Registry

_Key = tuple[str, str, int | None]


class Extras:
    """The versions that were asked for last.

    `catalog`: what the registry said last.
    `most`: how many are kept.
    """

    def __init__(self, catalog: Catalog, registry: Registry, loader: Loader, *, most: int) -> None:
        self._catalog = catalog
        self._registry = registry
        self._loader = loader
        self._most = most
        self._loads: OrderedDict[_Key, asyncio.Task[Served]] = OrderedDict()

    async def get(self, name: str, version: str) -> Served:
        """A version of a model; all who ask for it while it loads wait for the same load."""
        # A name that was deleted and used again has other versions of the same numbers.
        key = name, version, self._catalog.created.get(name)
        if key not in self._loads:
            self._loads[key] = asyncio.create_task(self._load(key))
        self._loads.move_to_end(key)
        while len(self._loads) > self._most:
            self._loads.popitem(last=False)
        # One who goes away does not stop the load for the others.
        return await asyncio.shield(self._loads[key])

    async def _load(self, key: _Key) -> Served:
        name, version, _ = key
        try:
            found = await self._registry.version(name, version)
            return Served(found, await self._loader.load(found), None, datetime.now(UTC))
        except BaseException:
            self._loads.pop(key, None)  # The next who asks tries again.
            raise
