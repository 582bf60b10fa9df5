"""What the workers of this host count together: records in a memory-mapped file, by LMDB."""

import hashlib
import os
import struct
import time
from collections.abc import Callable
from functools import lru_cache
from pathlib import Path

import lmdb

from api_host.rates.windows import Quota, Use, Window
from hostkit.errors import HostError

MEBIBYTES = 1024 * 1024
BYTES = 16 * MEBIBYTES
MOST_RECORDS = 50_000
"""So many fit into the file, however they are spread."""

LONGEST_KEY = 100
MOST_READERS = 1024

Clock = Callable[[], float]


class CountsError(HostError):
    """The file of the counts cannot be used."""


def open_counts(folder: Path) -> lmdb.Environment:
    """The file that all workers share. Nothing waits for a disk. Raises `CountsError`."""
    path = folder / "counts"
    try:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        try:
            return _open(path)
        except (lmdb.InvalidError, lmdb.CorruptedError, lmdb.VersionMismatchError):
            path.unlink()  # What it held is worth less than a host that starts.
            return _open(path)
    except (OSError, lmdb.Error) as error:
        raise CountsError(
            f"{path}, where the workers count what callers ask, cannot be used ({error}): see that"
            " this user may write there, and that 16 MiB are free"
        ) from None


def _open(path: Path) -> lmdb.Environment:
    counts = lmdb.open(
        str(path),
        map_size=BYTES,
        subdir=False,
        sync=False,
        metasync=False,
        writemap=True,
        max_readers=MOST_READERS,
        max_dbs=2,
        mode=0o600,
    )
    try:
        with path.open("r+b") as file:
            # Now: a full disk, found out by writing to the map, would end the process.
            os.posix_fallocate(file.fileno(), 0, BYTES)
    except OSError:
        counts.close()
        raise
    return counts


class Windows:
    """The sliding windows of the callers of this host, by the rule of the library `limits`.

    The library's own storages are for one process, or for a server of their own.

    `now`: seconds, the same for all workers; they begin again when the machine does.
    """

    def __init__(self, counts: lmdb.Environment, now: Clock = time.monotonic) -> None:
        self._counts = counts
        self._windows = counts.open_db(b"windows")
        self._now = now

    def use(self, name: bytes, quota: Quota, amount: int) -> Use:
        """Uses so much, if it may be used. A negative amount gives it back."""
        with self._counts.begin(self._windows, write=True) as counts:
            found, now, seconds = counts.get(name), self._now(), quota.seconds
            number, gone = divmod(now, seconds)
            window = _window(found, seconds, number, gone)
            if window.used + amount > quota.amount:
                return Use(may=False, window=window)
            if found is None and counts.stat(self._windows)["entries"] >= MOST_RECORDS:
                self._make_room(counts, now)
            window.current = max(0, window.current + amount)
            counts.put(name, _RECORD.pack(int(number), seconds, window.previous, window.current))
            return Use(may=True, window=window)

    def window(self, name: bytes, quota: Quota) -> Window:
        """What was used lately."""
        with self._counts.begin(self._windows) as counts:
            return _window(counts.get(name), quota.seconds, *divmod(self._now(), quota.seconds))

    def _make_room(self, counts: lmdb.Transaction, now: float) -> None:
        """Forgets what is over; or all, where so many callers are at it that this is too little."""
        over = [key for key, value in counts.cursor() if _is_over(value, now)]
        if len(over) < MOST_RECORDS // 10:
            counts.drop(self._windows, delete=False)
        for key in over:
            counts.delete(key)


_RECORD = struct.Struct("<qqqq")
"""Which window it is, its seconds, what was used in the one before, and in it."""


def _window(found: bytes | None, seconds: int, number: float, gone: float) -> Window:
    if found is None:
        return Window(0, seconds - gone, 0, seconds)
    then, _, previous, current = _RECORD.unpack(found)
    if then == number:
        return Window(previous, seconds - gone, current, seconds)
    # One from the future is from before the machine was started.
    return Window(current if then == number - 1 else 0, seconds - gone, 0, seconds)


def _is_over(record: bytes | memoryview, now: float) -> bool:
    number, seconds, _, _ = _RECORD.unpack(record)
    return not number <= now // seconds <= number + 1


@lru_cache(10_000)
def record_name(key: str) -> bytes:
    """The key of a record: what is too long for one is named by its digest."""
    name = key.encode()
    return name if len(name) <= LONGEST_KEY else hashlib.blake2b(name, digest_size=32).digest()
