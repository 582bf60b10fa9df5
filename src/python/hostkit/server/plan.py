"""What an install has to do: every step is worked out before the first is taken."""

import os
import stat
import subprocess
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Literal

from hostkit.definition import Definition
from hostkit.errors import HostError
from hostkit.files import read_or_create, write_atomically
from hostkit.server import releases, systemd, tree
from hostkit.server.layout import Layout
from hostkit.server.pex import Pex
from hostkit.server.releases import Release
from hostkit.server.tree import Tree

ROOT = Path("/")

Verb = Literal["make", "change", "remove"]


@dataclass(frozen=True)
class Step:
    """One thing to do.

    `verb`, `what`: the thing, in words.
    `act`: does it.
    `slow`: what is going on meanwhile, if it takes longer than a person likes.
    """

    verb: Verb
    what: str
    act: Callable[[], object]
    slow: str | None = None


@dataclass(frozen=True)
class Plan:
    """All that is to do.

    `release`: the name of the release to install.
    `previous`: the other release that runs now; None if there is none.
    `preparation`: what no running release notices.
    `switch`: what makes the release the one that runs. An upgrade does it on a way of its own.
    """

    release: str
    previous: Release | None
    preparation: tuple[Step, ...]
    switch: tuple[Step, ...]

    @property
    def steps(self) -> tuple[Step, ...]:
        """All steps, in their order."""
        return self.preparation + self.switch


def make(definition: Definition, layout: Layout, pex: Pex) -> Plan:
    """Compares what is there with what this release wants."""
    name = releases.name_of(pex)
    files = tree.tree_of(definition)
    running = releases.current(layout)
    preparation = [
        *_user(layout, files),
        *_folders(layout, files),
        *_release(layout, pex, files),
        *_settings(definition, layout),
        *_credentials(definition, layout, files),
    ]
    return Plan(
        release=name,
        previous=running if running and running.name != name else None,
        preparation=tuple(preparation),
        switch=(*_files(layout, files, name), *_link(layout, running, name)),
    )


def file_steps(layout: Layout, files: Tree, name: str) -> Iterator[Step]:
    """Gives a release its files, and takes away those of others."""
    others = [
        tree.read_tree(release.files)
        for release in releases.all_releases(layout)
        if release.name != name
    ]
    for difference in tree.differences(layout.root, files, others):
        if difference.file is None:
            verb: Verb = "remove"
        else:
            verb = "change" if difference.exists else "make"
        yield Step(verb, str(difference.path), difference.settle)


def _user(layout: Layout, files: Tree) -> Iterator[Step]:
    if not has_user(layout):
        content = files[tree.name_of(Layout(layout.host).sysusers)].content
        yield Step(
            "make",
            f"user {layout.host}",
            lambda: _run(["systemd-sysusers", *_below(layout), "-"], content),
        )


def folders(layout: Layout, files: Tree) -> Iterator[tuple[Path, str]]:
    """The folders that a release wants, each with its line for systemd-tmpfiles."""
    for line in files[tree.name_of(Layout(layout.host).tmpfiles)].content.decode().splitlines():
        words = line.split()
        if words and words[0] == "d":
            yield layout.root / words[1].lstrip("/"), line


def _folders(layout: Layout, files: Tree) -> Iterator[Step]:
    for path, line in folders(layout, files):
        _, _, mode, user, group, *_ = line.split()
        wanted = (int(mode, 8), _uid(layout.root, user), _gid(layout.root, group))
        if path.is_dir() and _rights(path) == wanted:
            continue
        yield Step(
            "change" if path.is_dir() else "make",
            str(path),
            partial(
                _run, ["systemd-tmpfiles", *_below(layout), "--create", "-"], f"{line}\n".encode()
            ),
        )


def _release(layout: Layout, pex: Pex, files: Tree) -> Iterator[Step]:
    folder = layout.releases / releases.name_of(pex)
    if not (folder / releases.RECORD).exists():
        yield Step(
            "make",
            str(folder),
            lambda: releases.unpack(layout, layout.host, pex, files),
            slow=f"unpacking and compiling {pex.path.name}",
        )


def _settings(definition: Definition, layout: Layout) -> Iterator[Step]:
    path = layout.env_file

    def set_rights() -> None:
        os.chown(path, 0, _gid(layout.root, layout.host) or 0)
        path.chmod(0o640)

    def write() -> None:
        write_atomically(path, tree.env_template(definition), mode=0o600)
        set_rights()

    if not os.path.lexists(path):
        yield Step("make", str(path), write)
    elif not path.is_symlink() and _rights(path) != (0o640, 0, _gid(layout.root, layout.host)):
        yield Step("change", f"{path} (who may read it)", set_rights)


def _credentials(definition: Definition, layout: Layout, files: Tree) -> Iterator[Step]:
    for name in credential_names(files):
        path = layout.credentials / name

        def write(path: Path = path, name: str = name) -> None:
            read_or_create(path, definition.secrets.get(name, lambda: ""))

        def set_rights(path: Path = path) -> None:
            os.chown(path, 0, 0)
            path.chmod(0o600)

        if not os.path.lexists(path):
            how = "generated" if name in definition.secrets else "empty"
            yield Step("make", f"{path} ({how})", write)
        elif not path.is_symlink() and _rights(path) != (0o600, 0, 0):
            yield Step("change", f"{path} (who may read it)", set_rights)


def credential_names(files: Tree) -> list[str]:
    """The credentials that the units among the files load."""
    units = [
        file.content.decode() for name, file in files.items() if systemd.unit_name(name) is not None
    ]
    return sorted({name for text in units for name in systemd.credentials_in(text)})


def has_user(layout: Layout) -> bool:
    """Whether the host's user is there."""
    return _numbers(layout.root, "passwd", layout.host) is not None


def _files(layout: Layout, files: Tree, name: str) -> Iterator[Step]:
    steps = list(file_steps(layout, files, name))
    yield from steps
    if layout.root == ROOT and (steps or _is_stale(layout, files)):
        yield Step("change", "what systemd knows of the units", reload_units)


def reload_units() -> None:
    """Lets systemd read all units again."""
    systemd.systemctl("daemon-reload")


def _is_stale(layout: Layout, files: Tree) -> bool:
    return systemd.is_booted() and any(
        unit.stale for unit in systemd.units(layout.host, systemd.unit_names(files))
    )


def _link(layout: Layout, running: Release | None, name: str) -> Iterator[Step]:
    def switch() -> None:
        release = releases.find(layout, name)
        releases.record(release, previous=running.name if running else None, backup=None)
        releases.switch(layout, release)

    if running is None or running.name != name:
        verb: Verb = "make" if running is None else "change"
        yield Step(verb, f"{layout.current} -> releases/{name}", switch)


def _below(layout: Layout) -> list[str]:
    return [] if layout.root == ROOT else [f"--root={layout.root}"]


def _run(command: list[str], content: bytes) -> None:
    done = subprocess.run(command, input=content, capture_output=True, check=False)
    if done.returncode:
        reason = " ".join(done.stderr.decode(errors="replace").split())
        raise HostError(f"'{' '.join(command)}' failed: {reason}")


def _rights(path: Path) -> tuple[int, int, int]:
    state = path.lstat()
    return stat.S_IMODE(state.st_mode), state.st_uid, state.st_gid


def _uid(root: Path, name: str) -> int | None:
    return _numbers(root, "passwd", name)


def _gid(root: Path, name: str) -> int | None:
    return _numbers(root, "group", name)


def _numbers(root: Path, database: str, name: str) -> int | None:
    """The number of a user or a group, in the file of that image or machine."""
    if name == "root":
        return 0
    try:
        lines = (root / "etc" / database).read_text(errors="replace").splitlines()
    except FileNotFoundError:
        lines = []
    for line in lines:
        found, _, number, *_ = [*line.split(":"), "", ""]
        if found == name and number.isdigit():
            return int(number)
    return None
