"""Follows the alias in the registry: poll, download, check, warm, swap the model that serves."""

import asyncio
import random
from collections.abc import Collection
from datetime import UTC, datetime
from typing import TYPE_CHECKING

import structlog

from api_host import metrics
from api_host.catalog import Catalog, Served
from api_host.errors import ApiError, ModelRefusedError, RegistryAwayError
from api_host.loader import Loader
from api_host.registry import ModelVersion, RegisteredModel, Registry
from api_host.store import BrokenCopyError, Store

if TYPE_CHECKING:
    from api_host.model import Model

POLL_SECONDS = 2.0
MOST_POLL_SECONDS = 5.0
"""The longest wait between two polls of a registry that does not answer."""

_log = structlog.get_logger("api_host.follower")


class Follower:
    """Keeps a catalog as the registry wants it.

    `names`: the models to follow; empty for all that have the alias.
    """

    def __init__(
        self,
        *,
        catalog: Catalog,
        registry: Registry,
        store: Store,
        loader: Loader,
        alias: str,
        names: Collection[str],
    ) -> None:
        self._catalog = catalog
        self._registry = registry
        self._store = store
        self._loader = loader
        self._alias = alias
        self._names = frozenset(names)
        self._refused: dict[str, ModelVersion] = {}
        self._under_way: dict[str, asyncio.Task[None]] = {}

    async def run(self) -> None:
        """Serves the last good copies, then follows the registry for ever."""
        await self._recover()
        wait = POLL_SECONDS
        while True:
            try:
                await self._poll()
                wait = POLL_SECONDS
            except RegistryAwayError as error:
                self._note_away(str(error))
                wait = min(wait * 1.5, MOST_POLL_SECONDS)
            except Exception:  # noqa: BLE001 - whatever it was, the next poll may be well
                _log.exception("poll failed")
            # Several processes that lost the registry at once do not come back at once.
            await asyncio.sleep(wait * random.uniform(0.8, 1.0))  # noqa: S311

    async def _recover(self) -> None:
        for copy in await asyncio.to_thread(list, self._store.last_good(self._alias)):
            if isinstance(copy, BrokenCopyError):
                _log.error("last good copy is broken", detail=str(copy))
            elif not self._names or copy.version.name in self._names:
                name = copy.version.name
                try:
                    self._swap(copy.version, await self._loader.load_copy(copy))
                except Exception as error:  # noqa: BLE001 - the other models must still be loaded
                    self._catalog.problems[name] = f"its last good copy does not load: {error}"
                    _log.exception("last good copy does not load", model=name)
        self._catalog.recovered = True

    async def _poll(self) -> None:
        models = await self._registry.models()
        self._note_back()
        self._catalog.aliases = {name: model.aliases for name, model in models.items()}
        for name in self._names.union(models if not self._names else ()):
            self._compare(name, models.get(name))
        for name in self._catalog.champions.keys() - models.keys():
            self._compare(name, None)

    def _compare(self, name: str, model: RegisteredModel | None) -> None:
        """Starts to load what the registry wants, unless it is there or on its way."""
        served = self._catalog.champions.get(name)
        wanted = model.aliases.get(self._alias) if model else None
        if model is None or wanted is None:
            self._note_missing(name, model, served)
            return
        if served and served.version.version == wanted and served.version.created >= model.created:
            self._catalog.problems.pop(name, None)
            return
        refused = self._refused.get(name)
        if refused and refused.version == wanted and refused.created >= model.created:
            return
        if name not in self._under_way:
            task = asyncio.create_task(self._follow(name, wanted))
            self._under_way[name] = task
            task.add_done_callback(lambda _: self._under_way.pop(name))

    async def _follow(self, name: str, wanted: str) -> None:
        version = None
        try:
            version = await self._registry.version(name, wanted)
            model = await self._loader.load(version)
            self._swap(version, model)
            await asyncio.to_thread(self._store.remember, version, self._alias)
            self._catalog.problems.pop(name, None)
        except ApiError as error:
            if version is not None and isinstance(error, ModelRefusedError):
                self._refused[name] = version
            self._note_problem(name, f"version {wanted} is not served: {error}")
        except Exception as error:  # noqa: BLE001 - tried again at the next poll
            _log.exception("model does not load", model=name, version=wanted)
            self._note_problem(name, f"version {wanted} does not load: {type(error).__name__}")

    def _swap(self, version: ModelVersion, model: "Model") -> None:
        before = self._catalog.champions.get(version.name)
        # One assignment: a request sees the old model or the new one.
        self._catalog.champions[version.name] = Served(
            version, model, self._alias, datetime.now(UTC)
        )
        metrics.served(version, before.version if before else None)
        _log.info(
            "serving",
            model=version.name,
            version=version.version,
            before=before.version.version if before else None,
        )

    def _note_missing(
        self, name: str, model: RegisteredModel | None, served: Served | None
    ) -> None:
        lack = "the registry has no such model" if model is None else f"no version is {self._alias}"
        if served:  # Whoever empties the registry by mistake does not stop predictions.
            self._note_problem(name, f"{lack}; version {served.version.version} is served still")
        elif name in self._names:
            self._note_problem(name, lack)
        else:
            self._catalog.problems.pop(name, None)

    def _note_problem(self, name: str, sentence: str) -> None:
        if self._catalog.problems.get(name) != sentence:
            _log.warning("not as the registry wants", model=name, detail=sentence)
        self._catalog.problems[name] = sentence

    def _note_away(self, sentence: str) -> None:
        if self._catalog.away is None:
            _log.warning("registry is away", detail=sentence)
        self._catalog.away = sentence

    def _note_back(self) -> None:
        if self._catalog.away is not None:
            _log.info("registry is back")
        self._catalog.away = None
        self._catalog.seen = datetime.now(UTC)
