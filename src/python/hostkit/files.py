"""Files that matter, written so that a reader sees the old content or the new, never a part."""

import os
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Annotated

from pydantic import AfterValidator


def _absolute(path: Path) -> Path:
    if not path.is_absolute():
        raise ValueError("it must be an absolute path")
    return path


AbsolutePath = Annotated[Path, AfterValidator(_absolute)]
"""A path that means the same in every working directory."""


def write_atomically(
    path: Path, content: str | bytes, *, mode: int = 0o644, group: int | None = None
) -> None:
    """Replaces the content of `path`, durably. Its folder must exist.

    `group`: the number of its group; None: that of whoever writes it.
    """
    temporary = _write_beside(path, content, mode, group)
    try:
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)
    sync_folder(path.parent)


def read_or_create(path: Path, create: Callable[[], str], *, mode: int = 0o600) -> str:
    """The text of `path`, made once: of several processes one wins, and all read the same."""
    try:
        return path.read_text(encoding="utf-8")
    except FileNotFoundError:
        pass
    temporary = _write_beside(path, create(), mode)
    try:
        os.link(temporary, path)
        sync_folder(path.parent)
    except FileExistsError:
        pass  # Another process was first.
    finally:
        temporary.unlink(missing_ok=True)
    return path.read_text(encoding="utf-8")


def _write_beside(path: Path, content: str | bytes, mode: int, group: int | None = None) -> Path:
    data = content.encode() if isinstance(content, str) else content
    descriptor, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    temporary = Path(name)
    try:
        with os.fdopen(descriptor, "wb") as file:
            file.write(data)
            file.flush()
            if group is not None:
                os.fchown(descriptor, -1, group)
            os.fchmod(descriptor, mode)
            os.fsync(descriptor)
    except OSError as error:
        temporary.unlink(missing_ok=True)
        error.filename = str(path)  # A full disk does not say whose write it refused.
        raise
    return temporary


def sync_folder(folder: Path) -> None:
    """Makes the names in a folder survive a power cut."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
