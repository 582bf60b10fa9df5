"""The releases that are unpacked on a server, and the link to the one that runs."""

import dataclasses
import json
import os
import shutil
import stat
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from hostkit import release
from hostkit.errors import HostError
from hostkit.files import sync_folder, write_atomically
from hostkit.server.layout import Layout
from hostkit.server.pex import INTERPRETER, Pex, file_name
from hostkit.server.tree import OwnedFile, write_tree

KEPT = 3
"""How many releases stay on the disk."""

LENGTH_OF_A_NAME = 12
RECORD = "release.json"


@dataclass(frozen=True)
class Release:
    """A release on the disk.

    `folder`: where it is.
    `version`, `revision`: as `version` tells them.
    `sha256`: of its PEX file.
    `installed_at`: when it took over, in UTC; None of one that never did its work here.
    `previous`: the name of the release that ran before, if any.
    `backup`: the backup that was made before its migration changed the database, if it did.
    """

    folder: Path
    version: str
    revision: str | None
    sha256: str
    installed_at: str | None = None
    previous: str | None = None
    backup: str | None = None

    @property
    def name(self) -> str:
        """The name of its folder: the first digits of the hash of its PEX file."""
        return self.folder.name

    @property
    def program(self) -> Path:
        """Runs its commands."""
        return self.folder / "venv/pex"

    @property
    def files(self) -> Path:
        """The files that it has elsewhere on a server, below a folder of its own."""
        return self.folder / "files"

    def __str__(self) -> str:
        revision = f", {self.revision[:LENGTH_OF_A_NAME]}" if self.revision else ""
        return f"{self.name} ({self.version}{revision})"


def name_of(pex: Pex) -> str:
    """What the folder of a PEX file's release is called."""
    return pex.sha256[:LENGTH_OF_A_NAME]


def all_releases(layout: Layout) -> list[Release]:
    """The releases that are whole, the one that took over last at the end."""
    folders = layout.releases.iterdir() if layout.releases.is_dir() else ()
    found = [_read(folder) for folder in folders if not folder.name.startswith(".")]
    return sorted(
        (release for release in found if release is not None),
        key=lambda release: (release.installed_at or "", release.name),
    )


def find(layout: Layout, name: str) -> Release:
    """The release whose name begins so. Raises `HostError`."""
    found = [release for release in all_releases(layout) if release.name.startswith(name)]
    if len(found) != 1 or not name:
        there = ", ".join(str(release) for release in all_releases(layout)) or "none"
        raise HostError(f"there is no release {name!r} in {layout.releases}; there are: {there}")
    return found[0]


def current(layout: Layout) -> Release | None:
    """The release that the link leads to."""
    try:
        target = layout.current.readlink()
    except OSError:
        return None
    return _read(layout.releases / target.name)


def switch(layout: Layout, release: Release) -> None:
    """Lets the link lead to a release, from one moment to the next."""
    new = layout.current.with_name(".current.new")
    new.unlink(missing_ok=True)
    new.symlink_to(Path("releases") / release.name)
    new.replace(layout.current)
    sync_folder(layout.product)


def record(release: Release, *, previous: str | None, backup: str | None) -> None:
    """Writes down what a release took the place of, now that it runs."""
    _write(
        dataclasses.replace(release, installed_at=_now(), previous=previous, backup=backup),
        release.folder,
    )


def unpack(layout: Layout, host: str, pex: Pex, files: Mapping[str, OwnedFile]) -> Release:
    """Makes the folder of a release, which appears when it is whole."""
    folder = layout.releases / name_of(pex)
    partial = layout.releases / f".{folder.name}.partial"
    shutil.rmtree(partial, ignore_errors=True)
    partial.mkdir(parents=True)
    try:
        pex.copy(partial / file_name(host)).make_venv(partial / "venv")
        # Without the root of an image: there it is not below a root.
        _finish_venv(partial / "venv", Path("/") / folder.relative_to(layout.root) / "venv")
        write_tree(partial / "files", files)
        this = release.describe(())
        made = Release(folder, this.version, this.revision, pex.sha256)
        _write(made, partial)
        os.sync()  # The name must not outlive its content.
        partial.rename(folder)
        sync_folder(layout.releases)
    except BaseException:
        shutil.rmtree(partial, ignore_errors=True)
        raise
    return made


def prune(layout: Layout) -> list[Release]:
    """Removes the oldest releases, never the one that runs or the one before; returns them.

    One that never took over, because its upgrade failed, is no release to go back to.
    """
    running = current(layout)
    needed = {running.name, running.previous} if running else set()
    found = all_releases(layout)
    kept = {item.name for item in [item for item in found if item.installed_at][-KEPT:]} | needed
    doomed = [item for item in found if item.name not in kept]
    for item in doomed:
        remove(item)
    for partial in layout.releases.glob(".*"):  # What an interrupted one has left.
        shutil.rmtree(partial, ignore_errors=True)
    return doomed


def remove(release: Release) -> None:
    """Removes a release. One that is removed by half is none."""
    partial = release.folder.with_name(f".{release.name}.partial")
    release.folder.rename(partial)
    shutil.rmtree(partial)


def _read(folder: Path) -> Release | None:
    try:
        document: dict[str, Any] = json.loads((folder / RECORD).read_bytes())
        return Release(folder, **document)
    except (OSError, ValueError, TypeError):
        return None


def _write(release: Release, folder: Path) -> None:
    document = dataclasses.asdict(release)
    del document["folder"]
    write_atomically(folder / RECORD, json.dumps(document, indent=2) + "\n")


def _finish_venv(venv: Path, place: Path) -> None:
    """Compiles a virtual environment, and lets it run as everybody, from its place only."""
    home = f"home = {INTERPRETER.parent}\n"
    configuration = (venv / "pyvenv.cfg").read_text()
    kept = [line for line in configuration.splitlines() if line.startswith(("incl", "version"))]
    write_atomically(venv / "pyvenv.cfg", home + "".join(f"{line}\n" for line in kept))
    for path in (*(venv / "bin").iterdir(), venv / "__main__.py"):
        if path.is_symlink():
            continue
        before = path.read_bytes()
        after = before.replace(os.fsencode(venv.resolve()), os.fsencode(place))
        after = after.replace(os.fsencode(venv), os.fsencode(place))
        if after != before:
            write_atomically(path, after, mode=path.stat().st_mode & 0o777)
    python = venv / "bin" / INTERPRETER.name
    python.unlink()
    python.symlink_to(INTERPRETER)
    _compile(venv, place)
    _open_to_everybody(venv)


def _compile(venv: Path, place: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-Im", "compileall", "-q", "-j0", f"-s{venv}", f"-p{place}", venv / "lib"],
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode:
        reason = (done.stdout + done.stderr).strip().splitlines() or ["it said nothing"]
        raise HostError(f"the modules in {venv} could not be compiled: {reason[-1]}")


def _open_to_everybody(folder: Path) -> None:
    """What root unpacked with a narrow umask is read by the host's user."""
    for path in (folder, *folder.rglob("*")):
        if not path.is_symlink():
            mode = stat.S_IMODE(path.stat().st_mode)
            opened = mode | 0o444 | (0o111 if mode & 0o100 else 0)
            if opened != mode:
                path.chmod(opened)


def _now() -> str:
    return datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
