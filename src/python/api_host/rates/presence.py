"""How many requests each caller has in all workers, and no longer in one that was killed."""

import fcntl
import os
import struct
from contextlib import suppress
from pathlib import Path

import lmdb

from api_host.rates.storage import CountsError, record_name

MOST_PLACES = 1024
"""Enough for all workers, and for those that take their place."""


class Presence:
    """The requests that are being answered.

    Each worker has a place, which it holds by a lock that ends with it. What a caller has in a
    place that nobody holds does not count.

    `folder`: of the places.
    """

    def __init__(self, counts: lmdb.Environment, folder: Path) -> None:
        self._counts = counts
        self._inside = counts.open_db(b"inside")
        self._folder = folder
        self._place, self._lock = self._take_place()
        self._forget_predecessor()

    def close(self) -> None:
        """Gives the place away."""
        os.close(self._lock)

    def enter(self, caller: str, most: int) -> int:
        """Counts a request; gives how many more there may be, or -1: it may not be."""
        name = record_name(caller)
        with self._counts.begin(self._inside, write=True) as counts:
            places = _unpack(counts.get(name))
            count = sum(places.values())
            if count >= most:
                places = {place: n for place, n in places.items() if self._is_held(place)}
                count = sum(places.values())
            if count < most:
                places[self._place] = places.get(self._place, 0) + 1
            _put(counts, name, places)
        return most - count - 1 if count < most else -1

    def leave(self, caller: str) -> None:
        """Counts a request no longer."""
        name = record_name(caller)
        with self._counts.begin(self._inside, write=True) as counts:
            places = _unpack(counts.get(name))
            places[self._place] = places.get(self._place, 0) - 1
            _put(counts, name, places)

    def _take_place(self) -> tuple[int, int]:
        try:
            self._folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            for place in range(MOST_PLACES):
                file = os.open(self._folder / str(place), os.O_RDWR | os.O_CREAT, 0o600)
                with suppress(BlockingIOError):
                    fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
                    return place, file
                os.close(file)
        except OSError as error:
            raise CountsError(
                f"{self._folder} cannot be written ({error.strerror}): see that this user may"
            ) from None
        raise CountsError(f"{self._folder} has {MOST_PLACES} places, and all are taken")

    def _is_held(self, place: int) -> bool:
        if place == self._place:
            return True
        try:
            file = os.open(self._folder / str(place), os.O_RDWR)
        except FileNotFoundError:
            return False
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return True
        else:
            return False
        finally:
            os.close(file)

    def _forget_predecessor(self) -> None:
        with self._counts.begin(self._inside, write=True) as counts:
            for name, value in list(counts.cursor()):
                places = _unpack(value)
                if places.pop(self._place, None) is not None:
                    _put(counts, name, places)


def _unpack(value: bytes | None) -> dict[int, int]:
    return dict(_PLACE.iter_unpack(value)) if value else {}


def _put(counts: lmdb.Transaction, name: bytes, places: dict[int, int]) -> None:
    value = b"".join(_PLACE.pack(place, count) for place, count in places.items() if count > 0)
    if value:
        counts.put(name, value)
    else:
        counts.delete(name)


_PLACE = struct.Struct("<HI")
