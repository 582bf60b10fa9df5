"""Follows the alias in the registry: poll, download, check, warm, swap the model that serves."""

import asyncio
import random
import time
from collections.abc import Collection
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING

import structlog

from api_host import metrics
from api_host.errors import (
    ApiError,
    ModelNotTrustedError,
    ModelRefusedError,
    NotRegisteredError,
    RegistryAwayError,
)
from api_host.models.catalog import Catalog, Served
from api_host.models.loader import Loader, warm_up
from api_host.models.registry import ModelVersion, RegisteredModel, Registry
from api_host.models.store import BrokenCopyError, Store

if TYPE_CHECKING:
    from api_host.models.model import Model

POLL_SECONDS = 1.0
MOST_POLL_SECONDS = 5.0
"""The longest wait between two polls of a registry that does not answer."""

REFUSED_SECONDS = 300.0
"""After how long files that were not what was signed are looked at again: they may be mended."""

_log = structlog.get_logger("api_host.follower")


@dataclass(frozen=True)
class _Refused:
    """A version that is not loaded again as long as the registry has the same.

    `updated`: when the registry had changed the model last.
    `mends`: whether it may become right without becoming another version.
    `until`: when it is looked at again if it may, on the monotonic clock.
    """

    version: ModelVersion
    updated: int
    mends: bool
    until: float


class Follower:
    """Keeps a catalog as the registry wants it.

    `alias`: which version of a model is wanted.
    `names`: the models to follow; empty for all that have the alias.
    `recovered`: set once the last good copies are served.
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
        self._refused: dict[str, _Refused] = {}
        self._kept_problems: dict[str, str] | None = None
        self._under_way: dict[str, asyncio.Task[None]] = {}
        self._polling = asyncio.Lock()
        self.recovered = asyncio.Event()

    async def run(self) -> None:
        """Serves the last good copies, then follows the registry for ever."""
        await asyncio.to_thread(warm_up)
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
            await self._keep_problems()
            # Several processes that lost the registry at once do not come back at once.
            await asyncio.sleep(wait * random.uniform(0.8, 1.0))  # noqa: S311

    async def catch_up(self, name: str) -> str | None:
        """Asks the registry now, and waits until the version that it wants of a model is loaded.

        What is returned says why it does not serve yet; None if it does. Raises `ApiError` if the
        registry does not answer, wants no version, or wants one that is refused.
        """
        await self.recovered.wait()
        await self._wait_for_load(name)  # It may be of the version that was wanted before.
        if name in self._refused and self._refused[name].mends:
            del self._refused[name]
        models = await self._poll()
        wanted = self._catalog.wanted.get(name)
        if wanted is None:
            raise NotRegisteredError(f"{name} has no {self._alias} that this host follows")
        await self._wait_for_load(name)
        if self._is_refused(models[name], wanted):
            raise ModelRefusedError(self._catalog.problems[name])
        return self._catalog.problems.get(name)

    async def _wait_for_load(self, name: str) -> None:
        if name in self._under_way:
            await asyncio.wait([self._under_way[name]])

    async def _recover(self) -> None:
        for copy in await asyncio.to_thread(list, self._store.last_good(self._alias)):
            if isinstance(copy, BrokenCopyError):
                _log.error("last good copy is broken", detail=str(copy))
            elif not self._names or copy.version.name in self._names:
                try:
                    self._swap(copy.version, await self._loader.load_copy(copy))
                except (ApiError, OSError) as error:
                    self._note_problem(
                        copy.version.name, f"its last good copy does not load: {error}"
                    )
        self._catalog.recovered = True
        self.recovered.set()

    async def _poll(self) -> dict[str, RegisteredModel]:
        # One at a time: an answer that took longer is not taken for a newer one.
        async with self._polling:
            models = await self._registry.models()
        self._note_back()
        self._catalog.created = {name: model.created for name, model in models.items()}
        self._catalog.aliases = {name: model.aliases for name, model in models.items()}
        self._catalog.wanted = {
            name: model.aliases[self._alias]
            for name, model in models.items()
            if self._alias in model.aliases and (not self._names or name in self._names)
        }
        for name, version in self._catalog.wanted.items():
            self._compare(models[name], version)
        for name in self._names.union(self._catalog.served) - self._catalog.wanted.keys():
            self._note_missing(name, registered=name in models)
        return models

    def _compare(self, model: RegisteredModel, wanted: str) -> None:
        """Starts to load what the registry wants, unless it is there, on its way, or refused."""
        name = model.name
        served = self._catalog.served.get(name)
        if served and _is(served.version, model, wanted):
            if self._catalog.problems.pop(name, None):
                metrics.NOT_TRUSTED.labels(name).set(0)
        elif name not in self._under_way and not self._is_refused(model, wanted):
            task = asyncio.create_task(self._follow(model, wanted))
            self._under_way[name] = task
            task.add_done_callback(lambda _: self._under_way.pop(name))

    def _is_refused(self, model: RegisteredModel, wanted: str) -> bool:
        """Whether nothing has changed since it was refused. A signature may come later."""
        refused = self._refused.get(model.name)
        if refused is None or not _is(refused.version, model, wanted):
            return False
        if not refused.mends:
            return True
        return refused.updated == model.updated and time.monotonic() < refused.until

    async def _follow(self, model: RegisteredModel, wanted: str) -> None:
        name, version = model.name, None
        try:
            version = await self._registry.version(name, wanted)
            self._swap(version, await self._loader.load(version))
            await asyncio.to_thread(self._store.remember, version, self._alias)
        except ModelRefusedError as error:
            not_trusted = isinstance(error, ModelNotTrustedError)
            if version is not None:
                self._refused[name] = _Refused(
                    version, model.updated, not_trusted, time.monotonic() + REFUSED_SECONDS
                )
            metrics.NOT_TRUSTED.labels(name).set(not_trusted)
            self._note_problem(name, f"version {wanted} is not served: {error}")
        except (ApiError, OSError) as error:
            self._note_problem(name, f"version {wanted} is not here yet: {error}")
        except Exception as error:  # noqa: BLE001 - a model can break in ways that nobody foresaw
            if self._note_problem(name, f"version {wanted} does not load: {error!r}"):
                _log.exception("model does not load", model=name, version=wanted)

    def _swap(self, version: ModelVersion, model: "Model") -> None:
        before = self._catalog.served.get(version.name)
        # One assignment: a request sees the old model or the new one.
        self._catalog.served[version.name] = Served(version, model, self._alias, datetime.now(UTC))
        self._catalog.problems.pop(version.name, None)
        metrics.NOT_TRUSTED.labels(version.name).set(0)
        metrics.note_swap(version, before.version if before else None)
        _log.info(
            "serving",
            model=version.name,
            version=version.version,
            before=before.version.version if before else None,
        )

    def _note_missing(self, name: str, *, registered: bool) -> None:
        lack = f"no version is {self._alias}" if registered else "the registry has no such model"
        served = self._catalog.served.get(name)
        # Whoever empties the registry by mistake does not stop predictions.
        still = f"; version {served.version.version} is served still" if served else ""
        self._note_problem(name, f"{lack}{still}")

    def _note_problem(self, name: str, sentence: str) -> bool:
        """Whether it is news."""
        if self._catalog.problems.get(name) == sentence:
            return False
        self._catalog.problems[name] = sentence
        metrics.PROBLEMS.labels(name).inc()
        _log.warning("not as the registry wants", model=name, detail=sentence)
        return True

    async def _keep_problems(self) -> None:
        problems = dict(self._catalog.problems)
        if problems == self._kept_problems:
            return
        with suppress(OSError):  # A full disk: at the next poll then.
            await asyncio.to_thread(self._store.keep_problems, problems)
            self._kept_problems = problems

    def _note_away(self, sentence: str) -> None:
        if self._catalog.away is None:
            _log.warning("registry is away", detail=sentence)
        self._catalog.away = sentence

    def _note_back(self) -> None:
        if self._catalog.away is not None:
            _log.info("registry is back")
        self._catalog.away = None
        self._catalog.seen = datetime.now(UTC)


def _is(version: ModelVersion | None, model: RegisteredModel, wanted: str) -> bool:
    # A name that was deleted and used again has versions from 1 on again.
    return version is not None and version.version == wanted and version.created >= model.created
