"""The keys that this process accepts: those of the file, looked at again and again."""

import hashlib
import os
import time
from pathlib import Path

import structlog

from api_host.auth import keys
from api_host.auth.caller import Caller
from api_host.auth.keys import Key, Shown, SpoiledKeysError

SECONDS_BETWEEN_LOOKS = 1.0

_log = structlog.get_logger("api_host.auth")


class KnownKeys:
    """The keys of a file, at most a second old.

    `problem`: why the file cannot be used; then the keys of the last good one are accepted.
    """

    def __init__(self, path: Path) -> None:
        self.problem: str | None = None
        self._path = path
        self._keys: tuple[Key, ...] = ()
        self._callers: dict[bytes, tuple[Caller, float]] = {}
        self._seen: object = ()
        self._next_look = 0.0

    def find(self, text: str) -> Caller | None:
        """Who shows that text; None if no key has it, or one that has expired."""
        self.look()
        # Found by its hash: how long that takes tells nothing of the texts that there are.
        found = self._callers.get(hashlib.sha256(text.encode()).digest())
        return None if found is None or found[1] <= time.time() else found[0]

    def has_expired(self, text: str) -> bool:
        """Whether a text that was not found belongs to a key all the same."""
        return hashlib.sha256(text.encode()).digest() in self._callers

    @property
    def all(self) -> tuple[Key, ...]:
        """Every key."""
        self.look()
        return self._keys

    def look(self) -> None:
        """Reads the file again if it was changed, with at most one look at it a second."""
        moment = time.monotonic()
        if moment < self._next_look:
            return
        self._next_look = moment + SECONDS_BETWEEN_LOOKS
        seen = self._look()
        if seen == self._seen:
            return
        self._seen = seen
        try:
            self._take(keys.read(self._path))
        except SpoiledKeysError as error:
            self.problem = str(error)
            _log.error("keys", problem=self.problem, keys=len(self._keys))
            return
        self.problem = None
        _log.info("keys", keys=len(self._keys))

    def _look(self) -> tuple[int, ...] | int | None:
        """What changes with the file; None if there is none."""
        try:
            state = os.stat(self._path)  # noqa: PTH116 (a path's own takes three times as long)
        except OSError as error:
            return error.errno
        # The last of them changes with who may read it.
        return state.st_ino, state.st_mtime_ns, state.st_size, state.st_ctime_ns

    def _take(self, found: tuple[Key, ...]) -> None:
        self._keys = found
        self._callers = {
            bytes.fromhex(shown.sha256): (key.caller, _end(shown))
            for key in found
            for shown in (key.before, key.current)
            if shown is not None
        }


def _end(shown: Shown) -> float:
    return float("inf") if shown.expires is None else shown.expires.timestamp()
