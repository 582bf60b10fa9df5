"""Copies of models on this host's disk: whole and checked, or not there at all.

models/iris/3-1795436727095/   a copy: the model's files and copy.json, which has their digests
models/iris/@champion -> …     the copy that served last
models/iris/.new-…             a download under way; locked by the process that makes it
models/.problems.json          why models are not served as the registry wants them, by name
"""

import fcntl
import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Self
from urllib.parse import quote

import msgspec

from api_host.models.registry import ModelVersion
from api_host.settings import ApiSettings
from api_host.structs import worked_out
from hostkit.files import write_atomically
from hostkit.signing.statement import digest as digest_of

MANIFEST = "copy.json"
UNFINISHED = ".new-"
PROBLEMS = ".problems.json"


@worked_out
class _Manifest(msgspec.Struct, frozen=True):
    version: ModelVersion
    files: dict[str, str]


class Copy(msgspec.Struct, frozen=True):
    """A whole copy of a model version.

    `folder`: where its files are.
    `files`: their digests, just now.
    """

    version: ModelVersion
    folder: Path
    files: dict[str, str]


class BrokenCopyError(Exception):
    """A copy whose files are not what was once downloaded."""


class Store:
    """The folder of copies; several processes may use it at once.

    `most`: how many copies of a model are kept besides the one that served last.
    """

    def __init__(self, root: Path, *, most: int) -> None:
        self._root = root
        self._most = most

    @classmethod
    def of(cls, settings: ApiSettings) -> Self:
        """The copies of the host with these settings."""
        return cls(settings.state_directory / "models", most=settings.model_extra_versions)

    def find(self, version: ModelVersion) -> Copy | None:
        """The copy of a version, if there is a good one; one that is not is thrown away."""
        folder = self._folder(version)
        try:
            return _read(folder)
        except BrokenCopyError:
            shutil.rmtree(folder, ignore_errors=True)
            return None

    @contextmanager
    def staging(self, version: ModelVersion) -> Iterator[Path]:
        """An empty folder for the files of a version, which is gone after the block."""
        parent = self._folder(version).parent
        parent.mkdir(parents=True, exist_ok=True)
        folder = Path(tempfile.mkdtemp(prefix=UNFINISHED, dir=parent))
        lock = os.open(folder, os.O_RDONLY)
        try:
            fcntl.flock(lock, fcntl.LOCK_EX)
            yield folder
        finally:
            os.close(lock)
            shutil.rmtree(folder, ignore_errors=True)

    def add(self, version: ModelVersion, staging: Path, files: dict[str, str]) -> Copy:
        """Makes what is in `staging` the copy of a version, all at once.

        `files`: the digest of each file of the model's.
        """
        for path in sorted(staging.rglob("*")):
            _sync(path)
        manifest = _Manifest(version, files)
        write_atomically(staging / MANIFEST, msgspec.json.encode(manifest))
        staging.chmod(0o755)
        folder = self._folder(version)
        try:
            staging.rename(folder)
        except OSError:
            if self.find(version) is None:  # Not another process that was faster.
                raise
        _sync(folder.parent)
        self._prune(folder)
        return Copy(version, folder, files)

    def discard(self, copy: Copy) -> None:
        """Throws a copy away."""
        shutil.rmtree(copy.folder, ignore_errors=True)

    def remember(self, version: ModelVersion, alias: str) -> None:
        """Notes that this copy serves, for the next start."""
        folder = self._folder(version)
        link = folder.parent / f"@{_file_name(alias)}"
        with self.staging(version) as staging:
            temporary = staging / "link"
            temporary.symlink_to(folder.name)
            temporary.replace(link)
        _sync(folder.parent)

    def last_good(self, alias: str) -> Iterator[Copy | BrokenCopyError]:
        """The copy of each model that served last; a broken one is thrown away."""
        for folder in self._last(alias):
            try:
                yield _read(folder)
            except BrokenCopyError as error:
                shutil.rmtree(folder, ignore_errors=True)
                yield BrokenCopyError(f"{folder} was broken and is removed: {error}")

    def check(self, alias: str) -> Iterator[Copy | BrokenCopyError]:
        """The same, and nothing is changed."""
        for folder in self._last(alias):
            try:
                yield _read(folder)
            except BrokenCopyError as error:
                yield BrokenCopyError(f"{folder} is broken: {error}")

    def keep_problems(self, problems: dict[str, str]) -> None:
        """Keeps, for who cannot ask this host, why models are not served as they should be."""
        self._root.mkdir(parents=True, exist_ok=True)
        write_atomically(self._root / PROBLEMS, msgspec.json.encode(problems))

    def problems(self) -> dict[str, str] | None:
        """What was kept last, by the model's name; None: nothing yet."""
        try:
            return msgspec.json.decode((self._root / PROBLEMS).read_bytes(), type=dict[str, str])
        except (OSError, msgspec.MsgspecError):
            return None

    def _last(self, alias: str) -> Iterator[Path]:
        for link in sorted(self._root.glob(f"*/@{_file_name(alias)}")):
            yield link.resolve()

    def _prune(self, newest: Path) -> None:
        """Removes downloads that nobody finished, and the oldest copies."""
        folders = [path for path in newest.parent.iterdir() if not path.name.startswith("@")]
        linked = {path.resolve() for path in newest.parent.glob("@*")}
        copies = [path for path in folders if not path.name.startswith(UNFINISHED)]
        copies.sort(key=lambda path: path.stat().st_mtime, reverse=True)
        spare = [path for path in copies if path not in (newest, *linked)]
        for path in (set(folders) - set(copies)).union(spare[self._most :]):
            _remove_unless_locked(path)

    def _folder(self, version: ModelVersion) -> Path:
        return self._root.resolve() / _file_name(version.name) / _file_name(version.key)


def _file_name(name: str) -> str:
    # A name in the registry may hold anything but '/' and ':'; '.' and '@' at its start are ours.
    quoted = quote(name, safe=" ")
    return f"%{ord(quoted[0]):02X}{quoted[1:]}" if quoted[0] in ".@" else quoted


def _read(folder: Path) -> Copy:
    try:
        manifest = msgspec.json.decode((folder / MANIFEST).read_bytes(), type=_Manifest)
        for name, digest in manifest.files.items():
            if digest_of(folder / name) != digest:
                raise BrokenCopyError(f"{name} is not what was downloaded")
    except (OSError, msgspec.MsgspecError) as error:
        raise BrokenCopyError(str(error)) from None
    return Copy(manifest.version, folder, manifest.files)


def _sync(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _remove_unless_locked(folder: Path) -> None:
    try:
        descriptor = os.open(folder, os.O_RDONLY)
    except FileNotFoundError:
        return  # Another process removed it.
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        shutil.rmtree(folder, ignore_errors=True)
    except BlockingIOError:
        pass  # A download of another process.
    finally:
        os.close(descriptor)
