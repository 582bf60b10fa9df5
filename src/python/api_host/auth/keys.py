"""API keys: what one is, and the file that holds all of them but not their secrets."""

import fcntl
import grp
import hashlib
import os
import re
import secrets
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Annotated

import msgspec
from msgspec import Meta

from api_host.auth.caller import Access, Caller, Rates
from api_host.structs import worked_out
from hostkit.errors import HostError
from hostkit.files import write_atomically

PREFIX = "tripod"
"""By which programs that look for secrets in files know a key."""

SECRET_BYTES = 32
ID_BYTES = 6

NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}", re.ASCII)
TEXT = re.compile(
    rf"{PREFIX}_(?P<id>[0-9a-f]{{{2 * ID_BYTES}}})_[0-9a-f]{{{2 * SECRET_BYTES}}}", re.ASCII
)

MODE = 0o640
"""The service may read it, and nobody but root write it."""

Moment = Annotated[datetime, Meta(tz=True)]


class Shown(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What is kept of the text of a key.

    `id`: the part of the text that is no secret.
    `sha256`: of the whole text, in hexadecimal. That is enough: 256 random bits are not found by
    trying, and what makes a hash slow protects only what people think up.
    `expires`: when it is refused; null: never.
    """

    id: str
    sha256: Annotated[str, Meta(pattern="^[0-9a-f]{64}$")]
    expires: Moment | None = None


class Key(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """A key that callers show.

    `name`: of those who have it.
    `access`: what they may do.
    `models`: the models that they may ask; null: all.
    `rates`: how much they may ask.
    `created`, `rotated`: when it was made, and when its text was last replaced.
    `current`: its text.
    `before`: the text that it had before, as long as that is accepted.
    """

    name: str
    access: tuple[Access, ...]
    models: tuple[str, ...] | None = None
    rates: Rates = Rates()
    created: Moment
    rotated: Moment | None = None
    current: Shown
    before: Shown | None = None

    @property
    def caller(self) -> Caller:
        """Who shows it."""
        models = None if self.models is None else frozenset(self.models)
        return Caller(f"key:{self.name}", frozenset(self.access), models, self.rates)

    def is_expired(self, moment: datetime) -> bool:
        """Whether its text is refused by then."""
        return self.current.expires is not None and self.current.expires <= moment


@worked_out
class KeysFile(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What the file holds."""

    keys: tuple[Key, ...] = ()


class SpoiledKeysError(HostError):
    """The file of keys is there and cannot be used."""


def new_text() -> tuple[str, str]:
    """The id and the text of a key that nobody has yet."""
    number = secrets.token_hex(ID_BYTES)
    return number, f"{PREFIX}_{number}_{secrets.token_hex(SECRET_BYTES)}"


def digest(text: str) -> str:
    """What is kept of a text."""
    return hashlib.sha256(text.encode()).hexdigest()


def read(path: Path) -> tuple[Key, ...]:
    """All keys of a file; none where there is no file. Raises `SpoiledKeysError`."""
    try:
        content = path.read_bytes()
    except FileNotFoundError:
        return ()
    except OSError as error:
        raise SpoiledKeysError(f"{path} cannot be read: {error.strerror}") from None
    return parse(path, content)


def parse(path: Path, content: bytes) -> tuple[Key, ...]:
    """The keys in the content of that file. Raises `SpoiledKeysError`."""
    try:
        return msgspec.json.decode(content, type=KeysFile).keys
    except (msgspec.MsgspecError, ValueError, RecursionError) as error:
        raise SpoiledKeysError(
            f"{path} is no file of keys ({error}): put the last good one back, or move it away and"
            " make the keys again with 'api-host keys add'"
        ) from None


class Keyring:
    """The file of keys, for the commands that change it.

    `path`: where it is; it need not be there.
    """

    def __init__(self, path: Path) -> None:
        self.path = path

    def all(self) -> tuple[Key, ...]:
        """Every key. Raises `SpoiledKeysError`."""
        return read(self.path)

    def add(self, key: Key) -> None:
        """Adds a key, whose name no other has. Raises `HostError`."""
        with self._changing() as keys:
            if any(key.name == other.name for other in keys):
                raise HostError(
                    f"there is a key {key.name} already: choose another name, or"
                    f" 'api-host keys rotate {key.name}'"
                )
            self._write((*keys, key))

    def rotate(self, name: str, current: Shown, *, keep: timedelta, moment: datetime) -> Key:
        """Gives a key another text. `keep`: how long the one before is accepted yet."""
        with self._changing() as keys:
            key = self._find(keys, name)
            until = moment + keep
            if key.current.expires is not None:
                until = min(until, key.current.expires)
            before = msgspec.structs.replace(key.current, expires=until) if keep else None
            changed = msgspec.structs.replace(key, current=current, before=before, rotated=moment)
            self._write(tuple(changed if each is key else each for each in keys))
        return changed

    def revoke(self, name: str) -> Key:
        """Takes a key away. Raises `HostError` if there is none of that name."""
        with self._changing() as keys:
            key = self._find(keys, name)
            self._write(tuple(each for each in keys if each is not key))
        return key

    def find(self, name: str) -> Key:
        """The key of that name. Raises `HostError` if there is none."""
        return self._find(self.all(), name)

    def _find(self, keys: tuple[Key, ...], name: str) -> Key:
        for key in keys:
            if key.name == name:
                return key
        known = ", ".join(sorted(key.name for key in keys)) or "none"
        raise HostError(f"{self.path} has no key {name}: its keys are {known}")

    @contextmanager
    def _changing(self) -> Iterator[tuple[Key, ...]]:
        """The keys, which no other command changes meanwhile."""
        try:
            descriptor = os.open(self.path.parent, os.O_RDONLY | os.O_DIRECTORY)
        except OSError as error:
            raise HostError(
                f"the folder of {self.path} cannot be used ({error.strerror}): make it, or set"
                " API_KEYS_FILE"
            ) from None
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX)
            yield self.all()
        finally:
            os.close(descriptor)

    def _write(self, keys: tuple[Key, ...]) -> None:
        content = msgspec.json.format(msgspec.json.encode(KeysFile(keys)), indent=2)
        try:
            write_atomically(self.path, content + b"\n", mode=MODE, group=_group(self.path))
        except PermissionError:
            raise HostError(
                f"{self.path} cannot be written by this user: 'sudo api-host keys ...'"
            ) from None


def _group(path: Path) -> int | None:
    """The group that may read the file: the one that may now, or else that of the service."""
    if os.geteuid() != 0:
        return None
    try:
        return path.stat().st_gid
    except FileNotFoundError:
        pass
    try:
        return grp.getgrnam("api-host").gr_gid
    except KeyError:
        return None


def now() -> datetime:
    """The moment that is now, to the second."""
    return datetime.now(UTC).replace(microsecond=0)
