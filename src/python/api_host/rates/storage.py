"""What the workers of this host count together: records in a memory-mapped file, by LMDB."""

import hashlib
import math
import os
import struct
import time
from collections.abc import Callable
from pathlib import Path
from typing import Final

import lmdb
from limits.storage.base import SlidingWindowCounterSupport, Storage

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


class LocalStorage(Storage, SlidingWindowCounterSupport):
    """The sliding windows of the callers of this host, as the library `limits` keeps them.

    `now`: seconds, the same for all workers; they begin again when the machine does.
    """

    STORAGE_SCHEME = None
    _record: Final = struct.Struct("<qqqq")  # Which window it is, its seconds, and what was used.

    def __init__(self, counts: lmdb.Environment, now: Clock = time.monotonic) -> None:
        super().__init__()
        self._counts = counts
        self._windows = counts.open_db(b"windows")
        self._now = now

    @property
    def base_exceptions(self) -> type[Exception]:
        """What may go wrong."""
        return lmdb.Error

    def acquire_sliding_window_entry(
        self, key: str, limit: int, expiry: int, amount: int = 1
    ) -> bool:
        """Uses so much, if it may be used. A negative amount gives it back."""
        name = record_name(key)
        with self._counts.begin(self._windows, write=True) as counts:
            found = counts.get(name)
            now = self._now()
            previous, current, share = self._shift(found, expiry, now)
            if math.floor(previous * share) + current + amount > limit:
                return False
            if found is None and counts.stat(self._windows)["entries"] >= MOST_RECORDS:
                self._make_room(counts, now)
            used = max(0, current + amount)
            counts.put(name, self._record.pack(int(now // expiry), expiry, previous, used))
            return True

    def get_sliding_window(self, key: str, expiry: int) -> tuple[int, float, int, float]:
        """What was used in the previous and the current window, and how long each counts."""
        with self._counts.begin(self._windows) as counts:
            found = counts.get(record_name(key))
        previous, current, share = self._shift(found, expiry, self._now())
        return previous, share * expiry, current, share * expiry + expiry

    def _shift(self, found: bytes | None, expiry: int, now: float) -> tuple[int, int, float]:
        """What is in the windows now, and the share of the previous one that still counts."""
        window, share = int(now // expiry), 1 - now % expiry / expiry
        if found is None:
            return 0, 0, share
        then, _, previous, current = self._record.unpack(found)
        if then == window:
            return previous, current, share
        # One from the future is from before the machine was started.
        return (current, 0, share) if then == window - 1 else (0, 0, share)

    def _make_room(self, counts: lmdb.Transaction, now: float) -> None:
        """Forgets what is over; or all, where so many callers are at it that this is too little."""
        over = [key for key, value in counts.cursor() if self._is_over(value, now)]
        if len(over) < MOST_RECORDS // 10:
            counts.drop(self._windows, delete=False)
        for key in over:
            counts.delete(key)

    def _is_over(self, value: bytes | memoryview, now: float) -> bool:
        window, expiry, _, _ = self._record.unpack(value)
        return not window <= now // expiry <= window + 1

    def clear_sliding_window(self, key: str, expiry: int) -> None:  # noqa: ARG002
        """Forgets what was used."""
        self.clear(key)

    def clear(self, key: str) -> None:
        """Forgets what was used."""
        with self._counts.begin(self._windows, write=True) as counts:
            counts.delete(record_name(key))

    def reset(self) -> int:
        """Forgets everything; gives how many records there were."""
        with self._counts.begin(self._windows, write=True) as counts:
            entries: int = counts.stat(self._windows)["entries"]
            counts.drop(self._windows, delete=False)
            return entries

    def check(self) -> bool:
        """Whether it works."""
        return self._counts.stat() is not None

    def incr(self, key: str, expiry: int, amount: int = 1) -> int:
        """Is for windows that begin anew, which let through twice as much where they meet."""
        raise NotImplementedError

    def get(self, key: str) -> int:
        """See `incr`."""
        raise NotImplementedError

    def get_expiry(self, key: str) -> float:
        """See `incr`."""
        raise NotImplementedError


def record_name(key: str) -> bytes:
    """The key of a record: what is too long for one is named by its digest."""
    name = key.encode()
    return name if len(name) <= LONGEST_KEY else hashlib.blake2b(name, digest_size=32).digest()
