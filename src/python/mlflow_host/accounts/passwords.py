"""Whether a name and a password are an account's: asked for each request, answered in no time.

Hashing a password takes a third of a second, on purpose, so what was right once is remembered. Its
account is read again each second: a password that was changed, or an account that was removed, is
refused after a second at most, whoever changed it and on whichever server.
"""

import hmac
import secrets
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Protocol

from werkzeug.security import check_password_hash, generate_password_hash

SECONDS = 1.0

SECONDS_TO_TRUST = 1 * SECONDS
"""How long an account is not read again."""

MOST_RIGHT = 10_000
MOST_WRONG = 1_000


@dataclass(frozen=True)
class Account:
    """Who a caller is.

    `is_admin`: whether everything is allowed.
    `roles`: the names of its roles.
    """

    name: str
    is_admin: bool = False
    roles: frozenset[str] = frozenset()


@dataclass(frozen=True)
class Entry:
    """An account as the database has it, with the hash of its password."""

    account: Account
    password_hash: str


class Book(Protocol):
    """Where accounts are looked up."""

    def find(self, name: str) -> Entry | None:
        """The account of a name, if there is one."""


@dataclass(frozen=True)
class _Right:
    entry: Entry
    until: float


class Passwords:
    """Checks passwords, and remembers them without having them.

    `book`: where accounts are looked up.
    """

    def __init__(self, book: Book, clock: Callable[[], float] = time.monotonic) -> None:
        self._book = book
        self._clock = clock
        self._key = secrets.token_bytes(32)
        self._right: dict[bytes, _Right] = {}
        self._wrong: dict[bytes, str] = {}
        self._lock = threading.Lock()
        self._nobodys_hash = generate_password_hash(secrets.token_urlsafe())

    def known(self, name: str, password: str) -> Account | None:
        """The account, if it was read within the last second and the password was right."""
        right = self._right.get(self._digest(name, password))
        return right.entry.account if right and self._clock() < right.until else None

    def was_right(self, name: str, password: str) -> bool:
        """Whether this request's password was found right a moment ago."""
        return self._digest(name, password) in self._right

    def recall(self, name: str, password: str) -> tuple[Account | None, bool]:
        """Reads the account again; and whether that settles it, so that no hash is needed.

        Asks the database.
        """
        digest = self._digest(name, password)
        entry = self._book.find(name)
        right = self._right.get(digest)
        if entry and right and right.entry.password_hash == entry.password_hash:
            self._remember(digest, entry)
            return entry.account, True
        with self._lock:
            self._right.pop(digest, None)
        stored = entry.password_hash if entry else self._nobodys_hash
        return None, self._wrong.get(digest) == stored

    def check(self, name: str, password: str) -> Account | None:
        """Hashes the password, which takes a third of a second. Asks the database."""
        entry = self._book.find(name)
        digest = self._digest(name, password)
        # Of a name that nobody has, too: how long it takes tells nobody which names there are.
        stored = entry.password_hash if entry else self._nobodys_hash
        if check_password_hash(stored, password) and entry:
            self._remember(digest, entry)
            return entry.account
        with self._lock:
            _make_room(self._wrong, MOST_WRONG)
            self._wrong[digest] = stored
        return None

    def _remember(self, digest: bytes, entry: Entry) -> None:
        with self._lock:
            _make_room(self._right, MOST_RIGHT)
            self._right[digest] = _Right(entry, self._clock() + SECONDS_TO_TRUST)

    def _digest(self, name: str, password: str) -> bytes:
        return hmac.digest(self._key, f"{name}\0{password}".encode(), "sha256")


def _make_room(items: dict[bytes, Any], most: int) -> None:
    while len(items) >= most:
        items.pop(next(iter(items)))
