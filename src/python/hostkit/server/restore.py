"""Puts a backup in the place of what a host has, which is kept beside it."""

import os
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from hostkit.definition import Definition
from hostkit.errors import HostError
from hostkit.server import manifest as manifests
from hostkit.server.backup import CREDENTIALS, ENV, Backup
from hostkit.server.databases import database_of
from hostkit.server.identity import Identity
from hostkit.server.layout import Layout
from hostkit.server.progress import Progress
from hostkit.server.swap import Swap
from hostkit.server.trees import copy_file, copy_tree, give, make_folder
from hostkit.settings import Loaded

_STAMP = "%Y%m%dT%H%M%S.%fZ"
"""To the microsecond: what one restore put aside must not be in the way of the next."""


@dataclass(frozen=True)
class Restored:
    """One thing that was put back.

    `what`: "database", "settings", "credentials", or the name of a folder or a file.
    `where`: its place.
    `kept`: where that is which was there before; empty if there was nothing.
    `note`: what to know of it now; empty if nothing.
    """

    what: str
    where: str
    kept: str
    note: str = ""


def open_backup(
    definition: Definition, folder: Path, *, progress: Progress | None = None
) -> Backup:
    """Reads a backup and checks every file of it. Raises `DamagedBackupError`."""
    progress = progress or Progress()
    progress.doing("checking the backup")
    manifest = manifests.read(folder)
    if manifest.host != definition.name:
        raise HostError(f"{folder} is a backup of the {manifest.host}, not of {definition.name}")
    manifests.verify(folder, manifest, note=progress.moved)
    return Backup(folder, manifest)


def restore(
    definition: Definition,
    loaded: Loaded[Any],
    layout: Layout,
    backup: Backup,
    *,
    env_file: Path | None = None,
    database: bool = True,
    folders: bool = True,
    settings: bool = True,
    progress: Progress | None = None,
) -> tuple[Restored, ...]:
    """Puts back what a backup holds. The host must not run.

    `loaded`: the settings that say where things go.
    `backup`: as `open_backup` returns it.
    `env_file`: where the settings go, if not where `layout` says.
    `settings`: the env file, the credentials and the files that belong to them.
    """
    work = _Work(
        definition,
        loaded,
        layout,
        env_file or layout.env_file,
        backup,
        progress or Progress(),
    )
    done: list[Restored] = []
    try:
        if folders:
            done += work.folders()
        if settings:
            done += work.settings()
        if database:  # Last: it counts on the files.
            done += work.database()
    except (OSError, HostError) as error:
        so_far = ", ".join(f"{item.what} (before: {item.kept or 'none'})" for item in done)
        raise HostError(
            f"the backup could not be restored as a whole: {error}; put back so far:"
            f" {so_far or 'nothing'}"
        ) from None
    return tuple(done)


@dataclass(frozen=True)
class _Work:
    """What the steps share."""

    definition: Definition
    loaded: Loaded[Any]
    layout: Layout
    env_file: Path
    backup: Backup
    progress: Progress
    aside: str = field(default_factory=lambda: f"before-restore-{datetime.now(UTC):{_STAMP}}")

    def database(self) -> Iterator[Restored]:
        name = self.backup.manifest.database
        url = self.definition.contents(self.loaded).database
        if name is None or url is None:
            return
        database = database_of(url)
        if name not in (database.file_name, "absent"):
            raise HostError(f"the backup holds a {name}, but the settings name {database}")
        self.progress.doing("restoring the database")
        copy = None if name == "absent" else self.backup.folder / name
        if copy is not None:
            database.check(copy)
        identity = Identity.of_host(self.definition.name)
        kept = database.replace(copy, self.aside, identity)
        yield Restored("database", str(database), kept)

    def folders(self) -> Iterator[Restored]:
        targets = self.definition.contents(self.loaded).folders
        for name in self.backup.manifest.folders or ():
            source = self.backup.folder / name
            if source.is_dir() and name in targets:
                self.progress.doing(f"restoring {name}")
                yield Restored(name, str(targets[name]), self._replace(source, targets[name]))

    def settings(self) -> Iterator[Restored]:
        files = self.definition.contents(self.loaded).files
        for name, target in {
            ENV: self.env_file,
            CREDENTIALS: self.layout.credentials,
            **{name: file.path for name, file in files.items()},
        }.items():
            source = self.backup.folder / name
            if source.exists():
                what = "settings" if name == ENV else name
                note = files[name].once_restored if name in files else ""
                yield Restored(what, str(target), self._replace(source, target), note)

    def _replace(self, source: Path, target: Path) -> str:
        make_folder(target.parent, Identity.of_host(self.definition.name))
        swap = Swap(target, self.aside)
        if source.is_dir():
            copy_tree(source, swap.new, note=self.progress.moved)
        else:
            copy_file(source, swap.new, note=self.progress.moved)
        give(swap.new, self._owner(target))
        os.sync()
        return swap.done()

    def _owner(self, target: Path) -> Identity:
        """Whose a file becomes: as what it replaces; else as what is safe for its kind."""
        if target.exists():
            state = target.stat()
            return Identity(state.st_uid, state.st_gid)
        identity = Identity.of_host(self.definition.name)
        if target == self.layout.credentials:
            return Identity(0, 0)
        files = self.definition.contents(self.loaded).files.values()
        if target in (self.env_file, *(file.path for file in files)) and os.geteuid() == 0:
            return Identity(0, identity.group)
        return identity
