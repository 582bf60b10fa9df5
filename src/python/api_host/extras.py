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
        self._loaded: OrderedDict[tuple[str, str], asyncio.Future[Served]] = OrderedDict()

    async def get(self, name: str, version: str) -> Served:
        """A version of a model; all who ask for it while it loads wait for the same load."""
        key = name, version
        loading = self._loaded.get(key)
        if loading is None or (loading.done() and loading.exception() is not None):
            loading = self._loaded[key] = asyncio.ensure_future(self._load(name, version))
        self._loaded.move_to_end(key)
        while len(self._loaded) > self._most:
            self._loaded.popitem(last=False)
        return await asyncio.shield(loading)  # One who goes away does not stop it for the others.

    async def _load(self, name: str, version: str) -> Served:
        found = await self._registry.version(name, version)
        return Served(found, await self._loader.load(found), None, datetime.now(UTC))
