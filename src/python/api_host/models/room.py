"""What the files of one model version may take up on this host's disk."""

import math
import shutil
from pathlib import Path

from api_host.errors import ModelRefusedError, NoRoomError

MEBIBYTE = 1024 * 1024

STAYS_FREE_BYTES = 32 * MEBIBYTE
"""What a download leaves of the disk: for the keys, the counters and the logs of others."""


class Room:
    """Counts the bytes of all files together.

    `most`: how many there may be; None: any.
    """

    def __init__(self, most: int | None) -> None:
        self._most = most
        self._taken = 0

    def check(self, folder: Path, more: int) -> None:
        """Returns if so many more bytes are allowed, and fit into the folder.

        Raises `ModelRefusedError` or `NoRoomError`.
        """
        if self._most is not None and self._taken + more > self._most:
            raise ModelRefusedError(
                f"its files have more than {self._most} bytes together, which MODEL_MAX_BYTES"
                " allows: make it smaller, or that setting larger"
            )
        if more + STAYS_FREE_BYTES > shutil.disk_usage(folder).free:
            # The same as long as nothing changes: what is new is logged.
            size = math.ceil((self._taken + more) / MEBIBYTE)
            raise NoRoomError(
                f"its files have {size} MiB or more, and do not fit on the disk of {folder.parent},"
                f" where {STAYS_FREE_BYTES // MEBIBYTE} MiB must stay free: make room there"
            )

    def take(self, folder: Path, more: int) -> None:
        """The same for bytes that are here, and are counted."""
        self.check(folder, more)
        self._taken += more
