"""The PEX file that this process came from: where it is, and what it left in PEX's own cache."""

import hashlib
import json
import os
import shutil
import subprocess
import sys
import zipfile
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from hostkit.errors import HostError

INFO = "PEX-INFO"
INTERPRETER = Path("/usr/bin/python3.11")
"""What a server runs a release with, whatever other Pythons it has."""

_FOLDERS_OF_A_CACHE = {
    "bootstraps",
    "installed_wheels",
    "interpreters",
    "isolated",
    "unzipped_pexes",
    "user_code",
    "venvs",
}


@dataclass(frozen=True)
class Pex:
    """A PEX file.

    `path`: where it is.
    """

    path: Path

    @cached_property
    def sha256(self) -> str:
        """The hash of the file."""
        with self.path.open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()

    @cached_property
    def unpacked_bytes(self) -> int:
        """What its files need on a disk, without compiled ones."""
        with zipfile.ZipFile(self.path) as archive:
            return sum(entry.file_size for entry in archive.infolist())

    @property
    def _hash(self) -> object:
        try:
            with zipfile.ZipFile(self.path) as archive:
                return json.loads(archive.read(INFO))["pex_hash"]
        except (OSError, zipfile.BadZipFile, LookupError, ValueError):
            return None

    @classmethod
    def running(cls, host: str) -> "Pex":
        """The file that this process came from. Raises `HostError` if there is none."""
        environment = Path(sys.prefix).resolve()
        kept = environment.parent / file_name(host)
        if kept.is_file():  # An installed release.
            return cls(kept)
        # PEX tells its programs where they came from; another PEX may have started this process.
        pex = cls(Path(os.environ.get("PEX") or sys.argv[0]).absolute())
        own_hash = _info(environment).get("pex_hash")
        if own_hash is None or pex._hash != own_hash:
            raise HostError(
                f"this was not started from a PEX file: copy {file_name(host)} to this machine and"
                " run the command of that file"
            )
        return pex

    def copy(self, path: Path) -> "Pex":
        """The same file in another place. Raises `HostError` if it has changed since it was read.

        What is unpacked from the copy is then what has the hash that was checked.
        """
        shutil.copyfile(self.path, path)
        path.chmod(0o755)
        copied = Pex(path)
        if copied.sha256 != self.sha256:
            raise HostError(f"{self.path} changed while it was installed: begin again")
        return copied

    def make_venv(self, folder: Path) -> None:
        """Unpacks this file into a virtual environment, which need not stay where it is made."""
        if cache := _cache():
            with suppress(HostError):
                self._unpack(folder, cache)
                return
            # What PEX has in its cache may have lost its content by a power cut.
            shutil.rmtree(folder, ignore_errors=True)
        cache = folder.with_name("cache")
        try:
            self._unpack(folder, cache)
        finally:
            shutil.rmtree(cache, ignore_errors=True)

    def _unpack(self, folder: Path, cache: Path) -> None:
        done = subprocess.run(
            [sys.executable, self.path, "venv", folder],
            env={
                "PATH": os.defpath,
                "LANG": "C.UTF-8",
                "PEX_IGNORE_RCFILES": "true",
                "PEX_ROOT": str(cache),
                "PEX_TOOLS": "1",
            },
            capture_output=True,
            text=True,
            check=False,
        )
        reason = (done.stderr.strip().splitlines() or ["it said nothing"])[-1]
        if done.returncode == 0:
            damaged = self._damaged(folder / "lib" / INTERPRETER.name / "site-packages")
            if damaged is None:
                return
            reason = f"{damaged} has another size there"
        raise HostError(f"{self.path} could not be unpacked into {folder}: {reason}")

    def _damaged(self, packages: Path) -> str | None:
        """A file that is not as in this file; None if all are."""
        with zipfile.ZipFile(self.path) as archive:
            for entry in archive.infolist():
                name = _name_in_packages(entry.filename)
                if name is None or entry.is_dir():
                    continue
                try:
                    size = (packages / name).stat().st_size
                except OSError:
                    size = -1
                if size != entry.file_size:
                    return name
        return None


def _name_in_packages(name: str) -> str | None:
    """Where a file of a PEX file is below `site-packages`; None if it is not there."""
    first, _, rest = name.partition("/")
    if first != ".deps":
        return name if rest and first not in (".bootstrap", "__pex__") else None
    rest = rest.partition("/")[2]  # Without the name of the wheel.
    return None if rest.startswith((".layout.json", ".prefix/")) else rest


def file_name(host: str) -> str:
    """What the PEX file of a host is called, for instance `api_host.pex`."""
    return f"{host.replace('-', '_')}.pex"


def forget() -> None:
    """Removes what the running PEX unpacked into PEX's cache, unless others need it too."""
    cache = _cache()
    if cache is None or _is_used_by_others(cache):
        return
    own = _info(Path(sys.prefix).resolve())
    if not own:
        return
    others = [
        info
        for folder in (cache / "unzipped_pexes").glob("*")
        if (info := _info(folder)) and info["pex_hash"] != own["pex_hash"]
    ]
    wheels = set(own["distributions"].values())
    wheels -= {wheel for info in others for wheel in info["distributions"].values()}
    doomed = [cache / kind / own["pex_hash"] for kind in ("venvs", "unzipped_pexes")]
    doomed += [cache / "installed_wheels" / wheel for wheel in wheels]
    if own["code_hash"] not in {info["code_hash"] for info in others}:
        doomed.append(cache / "user_code" / own["code_hash"])
    if not others and {path.name for path in cache.iterdir()} <= _FOLDERS_OF_A_CACHE:
        doomed = [cache]
    for folder in doomed:
        shutil.rmtree(folder, ignore_errors=True)
    for link in cache.glob("venvs/s/*/venv"):
        if not link.exists():
            shutil.rmtree(link.parent, ignore_errors=True)


def _cache() -> Path | None:
    """PEX's cache that this process runs from, if it does: CACHE/venvs/HASH/HASH."""
    environment = Path(sys.prefix).resolve()
    kind = environment.parents[1]
    return kind.parent if kind.name == "venvs" and (environment / INFO).is_file() else None


def _info(folder: Path) -> dict[str, Any]:
    try:
        info: dict[str, Any] = json.loads((folder / INFO).read_bytes())
    except (OSError, ValueError):
        return {}
    return info


def _is_used_by_others(cache: Path) -> bool:
    """Whether another process runs from the cache: what it imports later must stay."""
    places = (os.fsencode(cache) + b"/", os.fsencode(cache.resolve()) + b"/")
    return any(word.startswith(places) for line in _other_command_lines() for word in line)


def _other_command_lines() -> Iterator[list[bytes]]:
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        if path.parent.name != str(os.getpid()):
            with suppress(OSError):  # It has ended.
                yield path.read_bytes().split(b"\0")
