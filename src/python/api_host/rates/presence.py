"""How many requests each caller has in all workers, and no longer in one that was killed."""

import struct
from pathlib import Path

import lmdb

from api_host.rates.storage import record_name
from api_host.workers.places import Places


class Presence:
    """The requests that are being answered.

    Each worker has a place, which it holds by a lock that ends with it. What a caller has in a
    place that nobody holds does not count.

    `folder`: of the places.
    """

    def __init__(self, counts: lmdb.Environment, folder: Path) -> None:
        self._counts = counts
        self._inside = counts.open_db(b"inside")
        self._places = Places(folder)
        self._held = self._places.take()
        self._place = self._held.number
        self._forget_predecessor()

    def close(self) -> None:
        """Gives the place away."""
        self._held.leave()

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

    def _is_held(self, number: int) -> bool:
        return number == self._place or self._places.is_held(number)

    def _forget_predecessor(self) -> None:
        with self._counts.begin(self._inside, write=True) as counts:
            for name, value in list(counts.cursor()):
                places = _unpack(value)
                if places.pop(self._place, None) is not None:
                    _put(counts, name, places)


def _unpack(value: bytes | None) -> dict[int, int]:
    return dict(_PLACE.iter_unpack(value)) if value else {}


def _put(counts: lmdb.Transaction, name: bytes, places: dict[int, int]) -> None:
    value = b"".join([_PLACE.pack(place, count) for place, count in places.items() if count > 0])
    if value:
        counts.put(name, value)
    else:
        counts.delete(name)


_PLACE = struct.Struct("<HI")
