"""The numbers that a worker has counted, in a file that outlives it.

The file is mapped memory: a worker that is killed loses nothing, and one that takes its place goes
on where it ended. Files of prometheus_client's multiprocess mode would do less: to count takes
three times as long there, a full disk ends the process, and each worker ever started leaves its
files behind.
"""

import mmap
import os
from contextlib import suppress
from pathlib import Path
from threading import Lock

import msgspec
import structlog

CELLS = 65_536
"""How many numbers a worker may have."""

BYTES = CELLS * 8
"""Where the names begin: one a line, in the order of the numbers, below the line of the edition."""

_log = structlog.get_logger("api_host.metrics")


class Name(msgspec.Struct, frozen=True, array_like=True):
    """What a number is.

    `metric`: whose it is.
    `labels`: the values of the metric's labels.
    `part`: which of the metric's; of a histogram's bucket with its bound.
    """

    metric: str
    labels: tuple[str, ...]
    part: tuple[str, ...]


class Tally:
    """The numbers of a worker.

    `file`: a descriptor; nobody else may write there.
    `edition`: of what the names mean; what was counted in another one is forgotten.
    `cells`: the numbers themselves.
    """

    def __init__(self, file: int, edition: str) -> None:
        self._file = file
        self._edition = edition
        self._lock = Lock()
        self._is_full = False
        head = self._head()
        names = _names(file, edition)
        if names is None:
            names = self._begin()
        self._places = {name: place for place, name in enumerate(names)}
        self._end = BYTES + len(head) + sum(len(_line(name)) for name in names)
        self.cells = memoryview(mmap.mmap(file, BYTES)).cast("d")

    def place(self, name: Name) -> int | None:
        """Where in `cells` the number of this name is; None: there is no room for one more."""
        with self._lock:
            if (place := self._places.get(name)) is not None or self._is_full:
                return place
            try:
                return self._add(name)
            except OSError as error:
                self._is_full = True
                _log.error("not all is counted for all workers", detail=str(error))
                return None

    def _head(self) -> bytes:
        return f"{self._edition}\n".encode()

    def _begin(self) -> list[Name]:
        # Never shorter than the numbers: whoever reads them has them mapped.
        if os.fstat(self._file).st_size > BYTES:
            os.ftruncate(self._file, BYTES)
        # Now: a full disk, found out by writing to the map, would end the process.
        os.posix_fallocate(self._file, 0, BYTES)
        os.pwrite(self._file, bytes(BYTES), 0)
        os.pwrite(self._file, self._head(), BYTES)
        return []

    def _add(self, name: Name) -> int:
        place = len(self._places)
        if place == CELLS:
            raise OSError(f"there are {CELLS} numbers already")
        line = _line(name)
        written = os.pwrite(self._file, line, self._end)
        if written < len(line):
            os.ftruncate(self._file, self._end)
            raise OSError("no room for the name of one more number")
        self._places[name] = place
        self._end += written
        return place


def read(path: Path, edition: str) -> dict[Name, float]:
    """The numbers in somebody's file; none if they are of another edition."""
    with suppress(FileNotFoundError), path.open("rb") as file:
        names = _names(file.fileno(), edition) or []
        if names:
            with (
                mmap.mmap(file.fileno(), BYTES, prot=mmap.PROT_READ) as mapped,
                memoryview(mapped) as view,
                view.cast("d") as cells,
            ):
                return dict(zip(names, cells, strict=False))
    return {}


def _names(file: int, edition: str) -> list[Name] | None:
    """None: it is no file of this edition."""
    length = os.fstat(file).st_size - BYTES
    if length <= 0:
        return None
    # Without a line that is being written, or never was to its end.
    first, *lines = os.pread(file, length, BYTES).split(b"\n")[:-1] or [b""]
    if first != edition.encode():
        return None
    try:
        return [_DECODER.decode(line) for line in lines]
    except msgspec.DecodeError:
        return None  # What it held is worth less than a host that starts.


def _line(name: Name) -> bytes:
    return msgspec.json.encode(name) + b"\n"


_DECODER = msgspec.json.Decoder(Name)
