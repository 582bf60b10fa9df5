"""What a backup holds: each file with its size and hash, and a checksum of the list itself."""

import dataclasses
import hashlib
import json
import os
import stat
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from typing import Any, Literal

from hostkit.errors import HostError
from hostkit.files import write_atomically
from hostkit.server.trees import Entries, Entry, Note, paths_below, sha256_of

NAME = "manifest.json"
FORMAT = 1
MOST_FAULTS_TOLD = 5


class DamagedBackupError(HostError):
    """A backup is not what was written."""


@dataclass(frozen=True)
class Upgrade:
    """The upgrade that a backup was made for: it is kept while one of the two releases is there.

    `old`, `new`: the folders' names of the releases, below `releases/`.
    """

    old: str
    new: str


@dataclass(frozen=True)
class Manifest:
    """What a backup holds.

    `host`: whose it is, for instance `mlflow-host`.
    `made`: when, in UTC, as `2026-01-31T12:00:00Z`.
    `version`, `revision`: the release of Tripod that made it.
    `components`: what that release was made of, by name.
    `database`: the file of the database, "absent" if there was none yet; None if it has no part.
    `folders`: where each folder was, by its name in the backup; None in one of the database only.
    `entries`: every file, folder and link.
    `upgrade`: what it was made for, if for an upgrade.
    """

    host: str
    made: str
    version: str
    revision: str | None
    components: Mapping[str, str]
    database: Literal["database.sqlite", "database.pgdump", "absent"] | None
    folders: Mapping[str, str] | None
    entries: Entries = field(repr=False)
    upgrade: Upgrade | None = None

    @property
    def bytes(self) -> int:
        """The size of all files together."""
        return sum(entry.bytes for entry in self.entries.values())


def write(folder: Path, manifest: Manifest) -> None:
    """Writes the manifest of the backup in `folder`."""
    content = {"format": FORMAT, **dataclasses.asdict(manifest)}
    document = {"checksum": _checksum(content), **content}
    write_atomically(folder / NAME, json.dumps(document, indent=1) + "\n", mode=0o600)


def read(folder: Path) -> Manifest:
    """The manifest of the backup in `folder`. Raises `DamagedBackupError`."""
    path = folder / NAME
    try:
        content = json.loads(path.read_bytes())
        checksum = content.pop("checksum")
    except FileNotFoundError:
        raise DamagedBackupError(
            f"{folder} is no backup: it has no {NAME}; name a folder that 'backup' made"
        ) from None
    except (ValueError, LookupError, AttributeError, TypeError):
        raise _damaged(folder, f"{NAME} cannot be read") from None
    if not isinstance(content, dict) or checksum != _checksum(content):
        raise _damaged(folder, f"{NAME} is not what was written")
    if content.pop("format", None) != FORMAT:
        raise HostError(f"{folder} was made by another release: restore it with that release")
    return _manifest(folder, content)


def _manifest(folder: Path, content: dict[str, Any]) -> Manifest:
    upgrade = content.pop("upgrade")
    entries = {path: Entry(**entry) for path, entry in content.pop("entries").items()}
    for path in entries:
        pure = PurePosixPath(path)
        if pure.is_absolute() or ".." in pure.parts or str(pure) != path:
            raise _damaged(folder, f"{NAME} names {path!r}, which is outside of it")
    return Manifest(**content, entries=entries, upgrade=Upgrade(**upgrade) if upgrade else None)


def verify(
    folder: Path,
    manifest: Manifest,
    *,
    note: Note = lambda _: None,
    checked: frozenset[str] = frozenset(),
) -> None:
    """Reads every file again. Raises `DamagedBackupError`, which names what is not as written.

    `checked`: the files that need not be read once more.
    """
    faults = list(_faults(folder, manifest.entries, note, checked))
    if faults:
        more = len(faults) - MOST_FAULTS_TOLD
        told = faults[:MOST_FAULTS_TOLD] + ([f"and {more} more"] if more > 0 else [])
        raise _damaged(folder, "; ".join(told))


def _faults(folder: Path, entries: Entries, note: Note, checked: frozenset[str]) -> Iterator[str]:
    found = dict(paths_below(folder))
    found.pop(NAME, None)
    for path in sorted(found.keys() - entries.keys()):
        yield f"{path!r} was not part of it"
    for path, entry in entries.items():
        state = found.get(path)
        if state is None:
            yield f"{path!r} is missing"
        elif entry.kind != _kind(state):
            yield f"{path!r} is no {entry.kind}"
        elif entry.kind == "link" and (folder / path).readlink() != Path(entry.target):
            yield f"{path!r} leads elsewhere"
        elif entry.kind == "file" and state.st_size != entry.bytes:
            yield f"{path!r} has {state.st_size} bytes instead of {entry.bytes}"
        elif (
            entry.kind == "file"
            and path not in checked
            and sha256_of(folder / path, note=note) != entry.sha256
        ):
            yield f"{path!r} has other content"


def _kind(state: os.stat_result) -> str:
    kinds = {stat.S_IFREG: "file", stat.S_IFDIR: "folder", stat.S_IFLNK: "link"}
    return kinds.get(stat.S_IFMT(state.st_mode), "other")


def _checksum(content: Mapping[str, Any]) -> str:
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()


def _damaged(folder: Path, fault: str) -> DamagedBackupError:
    return DamagedBackupError(
        f"the backup {folder} is damaged, so nothing was changed: {fault}; take another backup"
    )
