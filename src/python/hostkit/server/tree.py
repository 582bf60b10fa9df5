"""The files of a release outside its own folder: units, drop-ins, the command; and their changes.

They belong to the release: another one replaces them. A copy stays in the release's folder, so that
each release can be put back as it was, whichever program does it.
"""

import os
from collections.abc import Iterable, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass
from importlib.resources.abc import Traversable
from pathlib import Path

from hostkit.definition import Definition
from hostkit.errors import HostError
from hostkit.files import sync_folder, write_atomically
from hostkit.server.layout import Layout

UNIT_SUFFIXES = (".service", ".socket", ".target", ".timer")
ENV = "env"
GENERATOR = "generator"
HARDENING = "hardening.conf"


@dataclass(frozen=True)
class OwnedFile:
    """A file that a release has on a server.

    `content`: what is in it.
    `mode`: who may do what with it.
    """

    content: bytes
    mode: int = 0o644


Tree = Mapping[str, OwnedFile]
"""Files by their path below the root."""


def tree_of(definition: Definition) -> Tree:
    """The files that this release has on a server."""
    layout = Layout(definition.name)
    packed = {item.name: item.read_bytes() for item in _folder(definition).iterdir()}
    hardening = OwnedFile((definition.unit_files() / HARDENING).read_bytes())
    files: dict[Path, OwnedFile] = {layout.command: _command(layout)}
    for name, content in packed.items():
        if name.endswith(UNIT_SUFFIXES):
            files[layout.units / name] = OwnedFile(content)
        if name.endswith(".service"):
            files[layout.units / f"{name}.d" / f"10-{HARDENING}"] = hardening
    for name, path in (("sysusers.conf", layout.sysusers), ("tmpfiles.conf", layout.tmpfiles)):
        files[path] = OwnedFile(packed[name])
    if GENERATOR in packed:
        files[layout.generator] = OwnedFile(packed[GENERATOR], 0o755)
    return {name_of(path): files[path] for path in sorted(files)}


def name_of(path: Path) -> str:
    """What a file of a server is called in a tree."""
    return str(path.relative_to("/"))


def env_template(definition: Definition) -> bytes:
    """The env file of a host that has none yet."""
    return (_folder(definition) / ENV).read_bytes()


def _folder(definition: Definition) -> Traversable:
    folder = definition.unit_files() / definition.name
    if not folder.is_dir():
        raise HostError(
            f"this build has no unit files of {definition.name}: run the PEX file that"
            " 'pants package' makes"
        )
    return folder


def _command(layout: Layout) -> OwnedFile:
    # No link: the program looks for its virtual environment beside itself.
    return OwnedFile(f'#!/bin/sh\nexec {layout.current}/venv/pex "$@"\n'.encode(), 0o755)


def write_tree(folder: Path, files: Tree) -> None:
    """Writes all files below a folder."""
    for name, file in files.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        write_atomically(folder / name, file.content, mode=file.mode)


def read_tree(folder: Path) -> Tree:
    """Reads what `write_tree` wrote."""
    return {
        str(path.relative_to(folder)): OwnedFile(path.read_bytes(), path.stat().st_mode & 0o777)
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }


@dataclass(frozen=True)
class Difference:
    """A file that is not as it should be.

    `path`: which.
    `file`: what it should be; None if it should not be there.
    """

    path: Path
    file: OwnedFile | None

    @property
    def exists(self) -> bool:
        """Whether there is something now."""
        return os.path.lexists(self.path)

    def settle(self) -> None:
        """Makes the file as it should be."""
        if self.file is not None:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            write_atomically(self.path, self.file.content, mode=self.file.mode)
            return
        self.path.unlink(missing_ok=True)
        folder = self.path.parent
        if folder.name.endswith(".d") and folder.parent.name == "system":  # One unit's drop-ins.
            with suppress(OSError):  # The operator has others there.
                folder.rmdir()
                return
        sync_folder(folder)


def differences(root: Path, files: Tree, others: Iterable[Tree]) -> Iterator[Difference]:
    """What must change below `root` for a release to have its files, and no other release its own.

    `files`: those of the release.
    `others`: those of the other releases.
    """
    unwanted = {name for tree in others for name in tree} - files.keys()
    for name in sorted(unwanted):
        if os.path.lexists(root / name):
            yield Difference(root / name, None)
    for name, file in files.items():
        if not _is(root / name, file):
            yield Difference(root / name, file)


def _is(path: Path, file: OwnedFile) -> bool:
    try:
        state = path.lstat()
        return (
            state.st_mode & 0o7777 == file.mode
            and not path.is_symlink()
            and path.read_bytes() == file.content
        )
    except OSError:
        return False
