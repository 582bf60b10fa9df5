"""Copies of models on this host's disk: whole and checked, or not there at all.

models/iris/3-1795436727095/   a copy: the model's files and copy.json, which has their digests
models/iris/@champion -> …     the copy that served last
models/iris/.new-…             a download under way; locked by the process that makes it
"""

import fcntl
import hashlib
import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from urllib.parse import quote

import msgspec

from api_host.registry import ModelVersion
from hostkit.files import write_atomically

MANIFEST = "copy.json"
UNFINISHED = ".new-"


class _Manifest(msgspec.Struct, frozen=True):
    version: ModelVersion
    files: dict[str, str]


class Copy(msgspec.Struct, frozen=True):
    """A whole copy of a model version.

    `folder`: where its files are.
    """

    version: ModelVersion
    folder: Path


class BrokenCopyError(Exception):
    """A copy whose files are not what was once downloaded."""


class Store:
    """The folder of copies; several processes may use it at once."""

    def __init__(self, root: Path) -> None:
        self._root = root

    def find(self, version: ModelVersion) -> Copy | None:
        """The copy of a version, if there is a good one; one that is not is thrown away."""
        folder = self._folder(version)
        try:
            return _read(folder)
        except FileNotFoundError:
            return None
        except BrokenCopyError:
            shutil.rmtree(folder, ignore_errors=True)
            return None

    @contextmanager
    def adding(self, version: ModelVersion) -> Iterator[Path]:
        """An empty folder for a version's files; it becomes its copy when the block ends well."""
        parent = self._folder(version).parent
        parent.mkdir(parents=True, exist_ok=True)
        staging = Path(tempfile.mkdtemp(prefix=UNFINISHED, dir=parent))
        lock = os.open(staging, os.O_RDONLY)
        try:
            fcntl.flock(lock, fcntl.LOCK_EX)
            yield staging
            self._finish(version, staging)
        finally:
            os.close(lock)
            shutil.rmtree(staging, ignore_errors=True)

    def _finish(self, version: ModelVersion, staging: Path) -> None:
        files = [path for path in sorted(staging.rglob("*")) if path.is_file()]
        for path in files:
            _sync(path)
        manifest = _Manifest(version, {str(p.relative_to(staging)): _digest(p) for p in files})
        write_atomically(staging / MANIFEST, msgspec.json.encode(manifest))
        staging.chmod(0o755)
        try:
            staging.rename(self._folder(version))
        except OSError:
            if self.find(version) is None:  # Not another process that was faster.
                raise
        _sync(staging.parent)

    def remember(self, version: ModelVersion, alias: str) -> None:
        """Notes that this copy serves, for the next start; copies that nobody needs any more go."""
        folder = self._folder(version)
        link = folder.parent / f"@{_file_name(alias)}"
        before = link.resolve()
        temporary = folder.parent / f"{UNFINISHED}link-{os.getpid()}"
        temporary.unlink(missing_ok=True)
        temporary.symlink_to(folder.name)
        temporary.replace(link)
        _sync(folder.parent)
        for path in folder.parent.iterdir():
            # The one before stays: another process of this host may be about to load it.
            if path.is_dir() and not path.is_symlink() and path not in (folder, before):
                _remove_unless_locked(path)

    def last_good(self, alias: str) -> Iterator[Copy | BrokenCopyError]:
        """The copy of each model that served last."""
        for link in sorted(self._root.glob(f"*/@{_file_name(alias)}")):
            folder = link.resolve()
            try:
                yield _read(folder)
            except (FileNotFoundError, BrokenCopyError) as error:
                shutil.rmtree(folder, ignore_errors=True)
                yield BrokenCopyError(f"{folder} is broken ({error}) and was removed")

    def _folder(self, version: ModelVersion) -> Path:
        return self._root / _file_name(version.name) / _file_name(version.key)


def _file_name(name: str) -> str:
    # A name in the registry may hold anything but '/' and ':'.
    quoted = quote(name, safe=" ")
    return quoted.replace(".", "%2E", 1) if quoted.startswith(".") else quoted


def _read(folder: Path) -> Copy:
    try:
        manifest = msgspec.json.decode((folder / MANIFEST).read_bytes(), type=_Manifest)
    except msgspec.MsgspecError as error:
        raise BrokenCopyError(f"{MANIFEST}: {error}") from None
    for name, digest in manifest.files.items():
        try:
            found = _digest(folder / name)
        except OSError as error:
            raise BrokenCopyError(f"{name}: {error.strerror}") from None
        if found != digest:
            raise BrokenCopyError(f"{name} is not what was downloaded")
    return Copy(manifest.version, folder)


def _digest(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _sync(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _remove_unless_locked(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return  # A download of another process.
    else:
        shutil.rmtree(folder, ignore_errors=True)
    finally:
        os.close(descriptor)
