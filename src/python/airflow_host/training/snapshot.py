"""The table of a training as a file, so that every task learns from the same bytes.

A task on another machine, or one that is run again when the file is gone, reads the source again
and insists on the same fingerprint.
"""

import contextlib
import time
from pathlib import Path

from airflow_host.training import source
from airflow_host.training.errors import BadData
from airflow_host.training.settings import TrainingSettings
from hostkit.files import write_atomically

DAYS = 24 * 60 * 60
KEEP_SECONDS = 7 * DAYS
"""How long the table of a training that failed is kept, so that it can be run again."""


def keep(folder: Path, content: bytes) -> str:
    """Writes a table below `folder` and gives its fingerprint, by which it is recalled."""
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    _forget_old(folder)
    fingerprint = source.fingerprint(content)
    write_atomically(folder / fingerprint, content, mode=0o600)
    return fingerprint


def recall(folder: Path, fingerprint: str, *, uri: str, settings: TrainingSettings) -> bytes:
    """The bytes that were kept."""
    try:
        return (folder / fingerprint).read_bytes()
    except FileNotFoundError:
        content = source.read(uri, settings)
    if source.fingerprint(content) != fingerprint:
        raise BadData(f"{source.public(uri)} has changed since the training began: start it again")
    return content


def forget(folder: Path, fingerprint: str) -> None:
    """Removes a table that is no longer needed."""
    (folder / fingerprint).unlink(missing_ok=True)


def _forget_old(folder: Path) -> None:
    oldest = time.time() - KEEP_SECONDS
    for path in folder.iterdir():
        with contextlib.suppress(FileNotFoundError):  # Another training was first.
            if path.stat().st_mtime < oldest:
                path.unlink()
