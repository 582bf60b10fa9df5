"""Brings a model version into memory: from disk, or from the registry by way of the disk."""

import asyncio
import gc
from collections.abc import Collection
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from api_host.models import memory
from api_host.models.registry import ModelVersion, Registry
from api_host.models.store import Copy, Store

if TYPE_CHECKING:
    from api_host.models.model import Description, Model

MLMODEL = "MLmodel"


class Loader:
    """Loads models in threads, one at a time: never more than one core is taken from predictions.

    `registry`: where versions come from.
    `store`: where their copies are kept.
    `trusted`: types of the operator's own that a model file may hold.
    `compiles`: whether faster equivalents of the models are looked for.
    """

    def __init__(
        self, registry: Registry, store: Store, trusted: Collection[str], *, compiles: bool
    ) -> None:
        self._registry = registry
        self._store = store
        self._trusted = trusted
        self._compiles = compiles
        self._one = asyncio.Lock()

    async def load(self, version: ModelVersion) -> "Model":
        """The model, warmed up. What goes wrong is an `ApiError`, or the disk's `OSError`."""
        copy = await asyncio.to_thread(self._store.find, version)
        return await self.load_copy(copy or await self._download(version))

    async def load_copy(self, copy: Copy) -> "Model":
        """The model of a copy that is on disk."""
        async with self._one:
            load = partial(_load, copy.folder, self._trusted, compiles=self._compiles)
            return await asyncio.to_thread(load)

    async def _download(self, version: ModelVersion) -> Copy:
        files = await self._registry.files(version)
        with self._store.staging(version) as folder:
            await files.download(MLMODEL, folder / MLMODEL)
            description = await asyncio.to_thread(_describe, folder / MLMODEL)
            await files.download(description.file, folder / description.file)
            if description.example is not None:
                await files.download(description.example, folder / description.example)
            return await asyncio.to_thread(self._store.add, version, folder)


def warm_up() -> None:
    """Imports what models need, which takes seconds: in a thread, while this host answers."""
    from api_host import scoring  # noqa: F401, PLC0415
    from api_host.models import model  # noqa: F401, PLC0415
    from api_host.models.steps import read_in_steps  # noqa: PLC0415

    read_in_steps()
    # What was imported stays for ever. Looking through all of it for garbage, as loads would cause,
    # stops everything for 100 ms and more.
    gc.collect()
    gc.freeze()


def _load(folder: Path, trusted: Collection[str], *, compiles: bool) -> "Model":
    from api_host.models.model import load  # noqa: PLC0415 - see warm_up

    model = load(folder, trusted, compiles=compiles)
    memory.give_back()
    return model


def _describe(path: Path) -> "Description":
    from api_host.models.model import describe  # noqa: PLC0415 - see warm_up

    return describe(path.read_bytes())
