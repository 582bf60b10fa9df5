"""A place for each worker of this host, which is free again as soon as it ends, however it does."""

import fcntl
import os
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from hostkit.errors import HostError

MOST_PLACES = 1024
"""Enough for all workers, and for those that take their place."""


class PlacesError(HostError):
    """No place can be taken."""


@dataclass(frozen=True)
class Place:
    """What a worker holds until it ends.

    `number`: from 0.
    `file`: a descriptor of the place's file, whose lock is the worker's.
    """

    number: int
    file: int

    def leave(self) -> None:
        """Gives the place away."""
        os.close(self.file)


class Places:
    """The places of all workers: files in `folder`, whose names are numbers."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def take(self) -> Place:
        """The first free place. Raises `PlacesError`."""
        try:
            self._folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            for number in range(MOST_PLACES):
                file = os.open(self.path(number), os.O_RDWR | os.O_CREAT, 0o600)
                with suppress(BlockingIOError):
                    fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
                    return Place(number, file)
                os.close(file)
        except OSError as error:
            raise PlacesError(
                f"{self._folder} cannot be written ({error.strerror}): see that this user may"
            ) from None
        raise PlacesError(f"{self._folder} has {MOST_PLACES} places, and all are taken")

    def path(self, number: int) -> Path:
        """The file of a place."""
        return self._folder / str(number)

    def numbers(self) -> list[int]:
        """The places that were ever taken."""
        names = (path.name for path in self._folder.iterdir())
        return sorted(int(name) for name in names if name.isdecimal())

    def is_held(self, number: int) -> bool:
        """Whether a worker is there."""
        try:
            file = os.open(self.path(number), os.O_RDONLY)
        except FileNotFoundError:
            return False
        try:
            # Shared, so that two who ask at once do not take each other for the worker.
            fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except BlockingIOError:
            return True
        else:
            return False
        finally:
            os.close(file)
