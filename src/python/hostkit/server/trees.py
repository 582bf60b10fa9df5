"""Trees of files, walked by the descriptors of their folders: nobody can turn a copy elsewhere."""

import hashlib
import os
import stat
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Literal

from hostkit.server.identity import Identity

MEBIBYTE = 1024 * 1024
CHUNK = 4 * MEBIBYTE

_FOLDER = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
_READ = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
_WRITE = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC

Note = Callable[[int], None]
"""Is told of each part that was moved, in bytes."""


@dataclass(frozen=True)
class Entry:
    """What a file, a folder or a symbolic link is.

    `mode`: its permissions.
    `bytes`, `sha256`, `modified`: of a file; the last in nanoseconds since 1970.
    `target`: of a link.
    """

    kind: Literal["file", "folder", "link"]
    mode: int = 0
    bytes: int = 0
    sha256: str = ""
    modified: int = 0
    target: str = ""


Entries = dict[str, Entry]
"""By the path within the tree; a folder comes before what it holds."""

Reuse = Callable[[str, os.stat_result], Entry | None]
"""Puts a file in place without reading it, if it can."""


def copy_tree(
    source: Path,
    target: Path,
    *,
    prefix: str = "",
    reuse: Reuse | None = None,
    note: Note = lambda _: None,
) -> Entries:
    """Copies a folder to `target`, which must not exist. Returns what was copied.

    A file that vanishes meanwhile is left out; sockets and the like are never copied.
    `prefix`: what comes before each path in the result.
    """
    copy = _Copy(reuse, note)
    target.mkdir(mode=0o700)
    with _opened(source) as from_folder, _opened(target) as to_folder:
        copy.folder(from_folder, to_folder, prefix)
    return copy.entries


class _Copy:
    """A copy in the making.

    `entries`: what was copied so far.
    """

    def __init__(self, reuse: Reuse | None, note: Note) -> None:
        self.entries: Entries = {}
        self._reuse = reuse
        self._note = note

    def folder(self, source: int, target: int, path: str) -> None:
        """Copies what is in a folder; both are descriptors."""
        mode = permissions(os.fstat(source))
        if path:
            self.entries[path] = Entry("folder", mode)
        for name in sorted(os.listdir(source)):
            inner = str(PurePosixPath(path, name))
            try:
                self._entry(source, target, name, inner)
            except FileNotFoundError:
                continue  # It was deleted since the folder was listed.
            except OSError as error:
                if error.filename in (None, name):
                    error.filename = inner
                raise
        os.fchmod(target, mode)

    def _entry(self, source: int, target: int, name: str, path: str) -> None:
        state = os.stat(name, dir_fd=source, follow_symlinks=False)
        if stat.S_ISDIR(state.st_mode):
            with _opened(name, source) as below:
                os.mkdir(name, 0o700, dir_fd=target)
                with _opened(name, target) as new:
                    self.folder(below, new, path)
        elif stat.S_ISLNK(state.st_mode):
            link = os.readlink(name, dir_fd=source)
            os.symlink(link, name, dir_fd=target)
            self.entries[path] = Entry("link", target=link)
        elif stat.S_ISREG(state.st_mode):
            reused = self._reuse(path, state) if self._reuse else None
            self.entries[path] = reused or _copy_file(source, target, name, self._note)


def copy_file(source: Path, target: Path, *, note: Note = lambda _: None) -> Entry:
    """Copies one file to `target`, which must not exist."""
    with _opened(source.parent) as from_folder, _opened(target.parent) as to_folder:
        return _copy_file(from_folder, to_folder, source.name, note, target.name)


def _copy_file(
    source: int, target: int, name: str, note: Note, new_name: str | None = None
) -> Entry:
    digest = hashlib.sha256()
    size = 0
    with (
        os.fdopen(os.open(name, _READ, dir_fd=source), "rb", buffering=0) as reader,
        os.fdopen(os.open(new_name or name, _WRITE, 0o600, dir_fd=target), "wb") as writer,
    ):
        state = os.fstat(reader.fileno())
        while chunk := reader.read(CHUNK):
            digest.update(chunk)
            writer.write(chunk)
            size += len(chunk)
            note(len(chunk))
        writer.flush()
        mode = permissions(state)
        os.fchmod(writer.fileno(), mode)
        os.utime(writer.fileno(), ns=(state.st_mtime_ns, state.st_mtime_ns))
    return Entry("file", mode, size, digest.hexdigest(), state.st_mtime_ns)


def entry_of(path: Path) -> Entry:
    """What a file is that another program wrote."""
    state = path.stat(follow_symlinks=False)
    return Entry("file", permissions(state), state.st_size, sha256_of(path), state.st_mtime_ns)


def sha256_of(path: Path, *, note: Note = lambda _: None) -> str:
    """The hash of a file, read from the disk rather than from memory."""
    digest = hashlib.sha256()
    descriptor = os.open(path, _READ)
    with os.fdopen(descriptor, "rb", buffering=0) as reader:
        os.posix_fadvise(descriptor, 0, 0, os.POSIX_FADV_DONTNEED)
        while chunk := reader.read(CHUNK):
            digest.update(chunk)
            note(len(chunk))
    return digest.hexdigest()


def paths_below(folder: Path) -> Iterator[tuple[str, os.stat_result]]:
    """Everything below a folder, and how it stands; what vanishes meanwhile is left out."""
    for parent, folders, files, descriptor in os.fwalk(folder):
        folders.sort()
        for name in sorted([*folders, *files]):
            try:
                state = os.stat(name, dir_fd=descriptor, follow_symlinks=False)
            except FileNotFoundError:
                continue
            yield (Path(parent) / name).relative_to(folder).as_posix(), state


def permissions(state: os.stat_result) -> int:
    """What user, group and others may do. A service may set no more than that."""
    return state.st_mode & 0o777


def make_folder(path: Path, owner: Identity) -> None:
    """Makes a folder, and those above it that are missing, for a user."""
    if not path.is_dir():
        make_folder(path.parent, owner)
        path.mkdir(mode=0o750)
        owner.own(path)


def give(path: Path, owner: Identity) -> None:
    """Makes a tree belong to a user. Links are changed themselves, not what they name."""
    if os.geteuid() != 0:
        return  # What this user made is this user's.
    user, group = owner.user, owner.group
    os.chown(path, user, group, follow_symlinks=False)
    if path.is_symlink() or not path.is_dir():
        return
    for _, folders, files, descriptor in os.fwalk(path):
        for name in (*folders, *files):
            os.chown(name, user, group, dir_fd=descriptor, follow_symlinks=False)


@contextmanager
def _opened(folder: Path | str, inside: int | None = None) -> Iterator[int]:
    # The folder that a host was told of may itself be a link of the operator's.
    flags = _FOLDER if inside is not None else _FOLDER & ~os.O_NOFOLLOW
    descriptor = os.open(folder, flags, dir_fd=inside)
    try:
        yield descriptor
    finally:
        os.close(descriptor)
