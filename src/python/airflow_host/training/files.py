"""Tables in files of this machine: regular files below the folders that an operator names."""

import os
import stat
from collections.abc import Generator, Iterable
from pathlib import Path

from airflow_host.training.errors import BadData

CHUNK_BYTES = 1024 * 1024

_NO_DATA = ("/proc", "/sys", "/run/credentials")
"""Never read, also where the folder is /: what looks like files there is the system's state."""


def read(path: str, folders: Iterable[Path] | None) -> Generator[bytes]:
    """The content of a file, in pieces.

    `folders`: it must be below one of them, wherever links lead; None where an operator names it.
    Raises `BadData` and `OSError`.
    """
    if "\0" in path or ".." in Path(path).parts:
        raise BadData(f"{path!r} is not the path of a table: write it without '..'")
    allowed = None if folders is None else list(folders)
    if allowed is not None and not _is_below(path, allowed):
        raise BadData(_outside(path, allowed))
    # Nothing is opened yet: to open a device or a pipe would already do something.
    handle = os.open(path, os.O_PATH | os.O_CLOEXEC)
    opened = Path(f"/proc/self/fd/{handle}")
    try:
        real = str(opened.readlink())
        if allowed is not None and not _is_below(real, allowed):
            raise BadData(_outside(path, allowed))
        _check_kind(os.fstat(handle).st_mode, path, real)
        # The same file, whatever the path leads to by now.
        with opened.open("rb") as file:
            while chunk := file.read(CHUNK_BYTES):
                yield chunk
    finally:
        os.close(handle)


def _is_below(path: str, folders: list[Path]) -> bool:
    # As the folder was written, for a path that is not looked at yet, and as it really is.
    places = [place for folder in folders for place in (folder, Path(os.path.realpath(folder)))]
    return any(Path(path).is_relative_to(place) for place in places)


def _check_kind(mode: int, path: str, real: str) -> None:
    if stat.S_ISDIR(mode):
        raise BadData(f"{path} cannot be read: it is a folder, not a file")
    if not stat.S_ISREG(mode) or any(Path(real).is_relative_to(place) for place in _NO_DATA):
        raise BadData(f"{path} cannot be read: it is no ordinary file")


def _outside(path: str, folders: list[Path]) -> str:
    shown = ", ".join(map(str, folders)) or "which names none"
    return (
        f"{path} is not below a folder of TRAINING_DATA_FOLDERS ({shown}), or a link leads out of"
        " it: put the table there, or add its folder to that setting in the env file of the"
        " airflow host"
    )
