"""Puts something new in the place of a file or folder in one step, and keeps what was there."""

import ctypes
import os
import shutil
from pathlib import Path

from hostkit.errors import HostError

_AT_FDCWD = -100
_RENAME_EXCHANGE = 2
"""Two names change their places at once: rename(2)."""


class Swap:
    """A file or folder, and what is to take its place.

    `path`: where it is.
    `new`: make there what is to take its place; nothing, to have none.
    `old`: where it is kept.
    """

    def __init__(self, path: Path, aside: str) -> None:
        self.path = _trusted(path)
        self.new = self.path.with_name(f".{self.path.name}.new")
        self.old = self.path.with_name(f"{self.path.name}.{aside}")
        if os.path.lexists(self.new):  # Of one that was interrupted.
            remove(self.new)

    def done(self) -> str:
        """Makes the change. Says where the old one is kept, or nothing if there was none."""
        if os.path.lexists(self.old):  # A file would take its place silently.
            raise HostError(f"{self.old} exists: move it away, and try again")
        present = os.path.lexists(self.path)
        if not os.path.lexists(self.new):
            if present:
                self.path.rename(self.old)
        elif present:
            _exchange(self.new, self.path)
            self.new.rename(self.old)
        else:
            self.new.rename(self.path)
        _sync(self.path.parent)
        return str(self.old) if present else ""


def _trusted(path: Path) -> Path:
    """Where a path leads. A link of the operator's stays, and what it leads to is replaced."""
    for part in (path, *path.parents):
        if part.is_symlink() and part.lstat().st_uid not in (0, os.geteuid()):
            raise HostError(
                f"{part} is a link that neither root nor this user made: replace it by a folder"
            )
    return path.resolve()


def remove(path: Path) -> None:
    """Removes a file, a link, or a folder with all that it holds."""
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
    else:
        path.unlink()


def _exchange(one: Path, other: Path) -> None:
    library = ctypes.CDLL(None, use_errno=True)
    if library.renameat2(
        _AT_FDCWD, os.fsencode(one), _AT_FDCWD, os.fsencode(other), _RENAME_EXCHANGE
    ):
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number), str(other))


def _sync(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
