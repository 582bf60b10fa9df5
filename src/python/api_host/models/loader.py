"""Brings a model version into memory: from disk, or from the registry by way of the disk."""

import asyncio
import gc
from collections.abc import Collection, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import structlog

from api_host import metrics
from api_host.errors import ModelNotTrustedError, ModelRefusedError, NotRegisteredError
from api_host.models import memory
from api_host.models.registry import ModelVersion, Registry, RemoteFiles
from api_host.models.store import Copy, Store
from api_host.models.trust import Trust, check_names
from hostkit import audit
from hostkit.signing.bundle import MOST_BYTES
from hostkit.signing.errors import BadSignatureError
from hostkit.signing.statement import SIGNATURE_FILE, digests

if TYPE_CHECKING:
    from api_host.models.description import Description
    from api_host.models.model import Model

MLMODEL = "MLmodel"
_log = structlog.get_logger("api_host.loader")
MOST_BYTES_OF_MLMODEL = 2 * 1024 * 1024
"""A signature of 10,000 columns has half of that."""


class Loader:
    """Loads models in threads, one at a time: never more than one core is taken from predictions.

    `registry`: where versions come from.
    `store`: where their copies are kept.
    `trust`: whose models are loaded.
    `types`: types of the operator's own that a model file may hold.
    `compiles`: whether faster equivalents of the models are looked for.
    `pickles`: the models whose files may run code.
    """

    def __init__(
        self,
        registry: Registry,
        store: Store,
        trust: Trust,
        types: Collection[str],
        *,
        compiles: bool,
        pickles: Collection[str] = (),
    ) -> None:
        self._registry = registry
        self._store = store
        self._trust = trust
        self._types = types
        self._compiles = compiles
        self._pickles = frozenset(pickles)
        self._one = asyncio.Lock()

    async def load(self, version: ModelVersion) -> "Model":
        """The model, warmed up. What goes wrong is an `ApiError`, or the disk's `OSError`."""
        copy = await asyncio.to_thread(self._find, version)
        with _noted(version):
            return await self._load(copy or await self._download(version))

    async def load_copy(self, copy: Copy) -> "Model":
        """The model of a copy that is on disk. Raises the same."""
        with _noted(copy.version):
            self._trust.check(copy.version, copy.folder, copy.files)
        return await self._load(copy)

    def _find(self, version: ModelVersion) -> Copy | None:
        copy = self._store.find(version)
        if copy is None:
            return None
        try:
            # As the registry knows it now: what it was before does not count.
            self._trust.check(version, copy.folder, copy.files)
        except ModelNotTrustedError:
            self._store.discard(copy)  # It may have been signed since.
            return None
        return copy

    async def _load(self, copy: Copy) -> "Model":
        async with self._one:
            pickles = copy.version.name in self._pickles
            load = partial(
                _load, copy.folder, self._types, compiles=self._compiles, pickles=pickles
            )
            if pickles:
                _note_pickle(copy.version)
            return await asyncio.to_thread(load)

    async def _download(self, version: ModelVersion) -> Copy:
        files = await self._registry.files(version)
        with self._store.staging(version) as folder:
            if self._trust.is_wanted:
                await self._fetch_signed(version, files, folder)
            else:
                await _fetch(files, folder, pickles=version.name in self._pickles)
            found = await asyncio.to_thread(_digests, folder)
            self._trust.check(version, folder, found)
            return await asyncio.to_thread(self._store.add, version, folder, found)

    async def _fetch_signed(self, version: ModelVersion, files: RemoteFiles, folder: Path) -> None:
        """Every file that was signed, and no other."""
        signature = folder / SIGNATURE_FILE
        try:
            await files.download(SIGNATURE_FILE, signature, most=MOST_BYTES)
        except NotRegisteredError:
            raise ModelNotTrustedError(f"it has no signature ({SIGNATURE_FILE})") from None
        except ModelRefusedError as error:
            raise ModelNotTrustedError(str(error)) from None
        content = await asyncio.to_thread(signature.read_bytes)
        statement = self._trust.read(version, content)
        there = [name for name in await files.names() if name != SIGNATURE_FILE]
        check_names(statement, there)
        for name in statement.files:
            destination = folder / name
            destination.parent.mkdir(parents=True, exist_ok=True)
            await files.download(name, destination)


async def _fetch(files: RemoteFiles, folder: Path, *, pickles: bool) -> None:
    """What it takes to predict."""
    await files.download(MLMODEL, folder / MLMODEL, most=MOST_BYTES_OF_MLMODEL)
    description = await asyncio.to_thread(_describe, folder / MLMODEL)
    flavor = description.flavor
    flavor.check_format(pickles=pickles)
    await files.download(flavor.file, folder / flavor.file)
    for name in await asyncio.to_thread(flavor.further_files, folder):
        await files.download(name, folder / name)
    if description.example is not None:
        await files.download(description.example, folder / description.example)


def _digests(folder: Path) -> dict[str, str]:
    try:
        return digests(folder)
    except BadSignatureError as error:
        raise ModelNotTrustedError(str(error)) from None


def _note_pickle(version: ModelVersion) -> None:
    on = f"model:{version.name}/{version.version}"
    _log.warning("MODEL_ALLOW_PICKLE lets a model's file run code", on=on)
    audit.note("model.unpickle", on, who="host:api")


@contextmanager
def _noted(version: ModelVersion) -> Iterator[None]:
    """Notes the refusal of a model whose files are not what was signed."""
    try:
        yield
    except ModelNotTrustedError:
        metrics.REFUSALS.labels(version.name).inc()
        audit.note(
            "model.refuse",
            f"model:{version.name}/{version.version}",
            who="host:api",
            allowed=False,
        )
        raise


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


def _load(folder: Path, trusted: Collection[str], *, compiles: bool, pickles: bool) -> "Model":
    from api_host.models.model import load  # noqa: PLC0415 - see warm_up

    model = load(folder, trusted, compiles=compiles, pickles=pickles)
    memory.give_back()
    return model


def _describe(path: Path) -> "Description":
    from api_host.models.description import describe  # noqa: PLC0415 - see warm_up

    return describe(path.read_bytes())
