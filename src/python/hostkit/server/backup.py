"""Makes a backup of a host while it runs, checks it, and removes those that are too many.

The database is copied before the folders. MLflow stores a model's files before the row that says
that the model is complete, so that each file that a copied row counts on is there when the folders
are copied; the other way round, rows could name files that came too late. What is left over are
files that no row names yet, which do no harm.

Files are copied, not linked to the host's own: a host may write into a file again, and a link would
change with it. What did not change since the backup before is linked to that backup's copy, which
nobody writes again.
"""

import fcntl
import os
import shutil
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import cached_property
from pathlib import Path
from typing import Any

from hostkit import release
from hostkit.definition import Contents, Definition
from hostkit.errors import HostError
from hostkit.server import manifest as manifests
from hostkit.server.databases import Database, database_of
from hostkit.server.identity import Identity
from hostkit.server.layout import Layout
from hostkit.server.manifest import Manifest, Upgrade
from hostkit.server.progress import Progress
from hostkit.server.swap import remove
from hostkit.server.trees import (
    MEBIBYTE,
    Entries,
    Entry,
    copy_file,
    copy_tree,
    entry_of,
    paths_below,
    permissions,
    sha256_of,
)
from hostkit.settings import Loaded

KEPT_BY_DEFAULT = 7
STAMP = "%Y%m%dT%H%M%SZ"
SPACE_TO_LEAVE = 64 * MEBIBYTE

ENV = "env"
RELEASE = "release.json"
CREDENTIALS = "credentials"


@dataclass(frozen=True)
class Backup:
    """A backup on the disk.

    `folder`: where it is.
    `manifest`: what it holds.
    """

    folder: Path
    manifest: Manifest


def new_folder(layout: Layout) -> Path:
    """A folder for a backup of now, which does not exist yet."""
    stamp = datetime.now(UTC).strftime(STAMP)
    names = (stamp if number == 1 else f"{stamp}-{number}" for number in range(1, 1000))
    return next(path for name in names if not (path := layout.backups / name).exists())


def create(
    definition: Definition,
    loaded: Loaded[Any],
    layout: Layout,
    folder: Path,
    *,
    env_file: Path | None = None,
    with_folders: bool = True,
    with_credentials: bool = False,
    upgrade: Upgrade | None = None,
    progress: Progress | None = None,
) -> Backup:
    """Makes a backup in `folder`, which must not exist; it appears there when it is whole.

    `env_file`: where the settings are, if not where `layout` says.
    `with_folders`: not only the database and the settings, but all that the host keeps.
    `with_credentials`: the passwords and keys too; only root may.
    `upgrade`: the upgrade that it is made for.
    """
    if folder.exists():
        raise HostError(f"{folder} exists: name a folder that a backup can be made in anew")
    if with_credentials and os.geteuid() != 0:
        raise HostError("only root may read the credentials: use sudo, or leave them out")
    identity = Identity.of_host(definition.name)
    work = _Work(
        definition,
        loaded,
        layout,
        env_file or layout.env_file,
        identity,
        progress or Progress(),
    )
    _make_parent(folder.parent, layout, identity)
    with locked(folder.parent):
        _remove_halves(folder, layout)
        half = folder.with_name(f".{folder.name}.partial")
        try:
            half.mkdir(mode=0o700)
            identity.own(half)
            manifest = work.fill(half, with_folders, with_credentials, upgrade)
            half.rename(folder)
            os.sync()
        except OSError as error:
            raise HostError(
                f"the backup {folder} could not be made ({_described(error)}): nothing of it is"
                " left"
            ) from None
        finally:
            shutil.rmtree(half, ignore_errors=True)
    return Backup(folder, manifest)


@dataclass(frozen=True)
class _Work:
    """What the steps of one backup share."""

    definition: Definition
    loaded: Loaded[Any]
    layout: Layout
    env_file: Path
    identity: Identity
    progress: Progress

    @cached_property
    def contents(self) -> Contents:
        """What the host keeps."""
        return self.definition.contents(self.loaded)

    def fill(
        self, half: Path, with_folders: bool, with_credentials: bool, upgrade: Upgrade | None
    ) -> Manifest:
        folders = dict(self.contents.folders) if with_folders else {}
        url = self.contents.database
        database = database_of(url) if url else None
        before = _latest(half.parent, self.definition.name) if with_folders else None
        linked: set[str] = set()
        with self.identity.acting():
            there = database is not None and database.exists()
            self._check_space(half, database if there else None, folders, before)
            entries: Entries = {}
            if database is not None and there:
                entries |= self._copy_database(database, half)
            for name, folder in folders.items():
                if folder.is_dir():
                    self.progress.doing(f"copying {name}")
                    entries |= self._copy_folder(name, folder, half, before, linked)
            entries |= self._copy_settings(half)
        if with_credentials and self.layout.credentials.is_dir():
            entries |= copy_tree(self.layout.credentials, half / CREDENTIALS, prefix=CREDENTIALS)
        if not entries:
            raise HostError(
                f"there is nothing to back up: neither {self.env_file} nor data of this host is"
                " there; name its env file by --env-file, or run this on its server"
            )
        this = release.describe(self.definition.distributions)
        manifest = Manifest(
            host=self.definition.name,
            made=datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ"),
            version=this.version,
            revision=this.revision,
            components=this.components,
            database=None if database is None else database.file_name if there else "absent",
            folders={name: str(path) for name, path in folders.items()} if with_folders else None,
            entries=entries,
            upgrade=upgrade,
        )
        manifests.write(half, manifest)
        self.identity.own(half / manifests.NAME)
        os.sync()
        self.progress.doing("checking what was written")
        checked = manifests.read(half)
        manifests.verify(half, checked, note=self.progress.moved, checked=frozenset(linked))
        return checked

    def _check_space(
        self, half: Path, database: Database | None, folders: dict[str, Path], before: Backup | None
    ) -> None:
        needed = database.size() if database else 0
        for name, folder in folders.items():
            for path, state in paths_below(folder) if folder.is_dir() else ():
                if stat.S_ISREG(state.st_mode) and not _same(before, f"{name}/{path}", state):
                    needed += state.st_size
        free = shutil.disk_usage(half).free
        if needed + SPACE_TO_LEAVE > free:
            raise HostError(
                f"the backup needs about {needed // MEBIBYTE} MiB and {SPACE_TO_LEAVE // MEBIBYTE}"
                f" MiB must stay free, but the disk of {half.parent} has {free // MEBIBYTE} MiB:"
                " free some space there, or name another folder by --to"
            )

    def _copy_database(self, database: Database, half: Path) -> Entries:
        self.progress.doing("copying the database")
        copy = half / database.file_name
        database.copy(copy, self.progress.moved)
        copy.chmod(0o600)
        self.progress.doing("checking the copy of the database")
        database.check(copy)
        return {database.file_name: entry_of(copy)}

    def _copy_folder(
        self, name: str, folder: Path, half: Path, before: Backup | None, linked: set[str]
    ) -> Entries:
        def link(path: str, state: os.stat_result) -> Entry | None:
            entry = _same(before, path, state)
            if before is None or entry is None or not _linked(before.folder, half, path, entry):
                return None
            self.progress.moved(entry.bytes)
            linked.add(path)
            return entry

        return copy_tree(folder, half / name, prefix=name, reuse=link, note=self.progress.moved)

    def _copy_settings(self, half: Path) -> Entries:
        sources = {ENV: self.env_file, RELEASE: self.layout.current / RELEASE}
        sources |= {name: file.path for name, file in self.contents.files.items()}
        return {
            name: copy_file(source.resolve(), half / name)
            for name, source in sources.items()
            if source.is_file()
        }


def backups_in(folder: Path, host: str) -> list[Backup]:
    """The backups of a host below a folder, oldest first; what is none, or damaged, is left out."""
    found = []
    for path in sorted(folder.iterdir()) if folder.is_dir() else ():
        if path.name.startswith("."):
            continue
        try:
            manifest = manifests.read(path)
        except (HostError, OSError):
            continue
        if manifest.host == host:
            found.append(Backup(path, manifest))
    return sorted(found, key=lambda backup: (backup.manifest.made, backup.folder.name))


def prune(definition: Definition, layout: Layout, *, keep: int) -> list[Path]:
    """Removes all backups but the newest; returns what was removed.

    `keep`: how many stay, of full ones and of those of the database only, each. One that was made
    for an upgrade stays in any case while one of that upgrade's releases is there.
    """
    if not layout.backups.is_dir():
        return []
    with locked(layout.backups):
        found = [
            backup
            for backup in backups_in(layout.backups, definition.name)
            if not _is_needed(backup.manifest.upgrade, layout)
        ]
        full = [backup.folder for backup in found if backup.manifest.folders is not None]
        partial = [backup.folder for backup in found if backup.manifest.folders is None]
        doomed = [*full[: max(0, len(full) - keep)], *partial[: max(0, len(partial) - keep)]]
        for folder in doomed:
            half = folder.with_name(f".{folder.name}.partial")
            folder.rename(half)  # What is removed by half is no backup any more.
            shutil.rmtree(half)
    return doomed


def _is_needed(upgrade: Upgrade | None, layout: Layout) -> bool:
    return upgrade is not None and any(
        (layout.releases / name).exists() for name in (upgrade.old, upgrade.new)
    )


def _latest(folder: Path, host: str) -> Backup | None:
    full = [backup for backup in backups_in(folder, host) if backup.manifest.folders is not None]
    return full[-1] if full else None


def _same(before: Backup | None, path: str, state: os.stat_result) -> Entry | None:
    """What the backup before has of a file, if it has not changed since."""
    entry = before.manifest.entries.get(path) if before else None
    if entry is None or entry.kind != "file":
        return None
    found = (state.st_size, state.st_mtime_ns, permissions(state))
    return entry if found == (entry.bytes, entry.modified, entry.mode) else None


def _linked(before: Path, half: Path, path: str, entry: Entry) -> bool:
    """Whether the copy of the backup before is good, and serves this one too."""
    try:
        if sha256_of(before / path) != entry.sha256:
            return False
        os.link(before / path, half / path, follow_symlinks=False)
    except OSError:  # It is damaged, another user's, or has as many names as the disk allows.
        return False
    return True


def _make_parent(parent: Path, layout: Layout, identity: Identity) -> None:
    if parent.is_dir():
        return
    try:
        parent.mkdir(mode=0o750, parents=True)
        if parent == layout.backups:
            identity.own(parent)
    except OSError as error:
        raise HostError(f"the folder {parent} cannot be made ({error.strerror})") from None


@contextmanager
def locked(folder: Path) -> Iterator[None]:
    """Refuses a second one that works on the backups in a folder."""
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        yield
    except BlockingIOError:
        raise HostError(f"another backup is being made in {folder}: wait for its end") from None
    finally:
        os.close(descriptor)


def _remove_halves(folder: Path, layout: Layout) -> None:
    """Removes what a power cut has left of earlier ones."""
    pattern = ".*.partial" if folder.parent == layout.backups else f".{folder.name}.partial"
    for half in folder.parent.glob(pattern):
        remove(half)


def _described(error: OSError) -> str:
    return f"{error.filename}: {error.strerror}" if error.filename else str(error.strerror)
