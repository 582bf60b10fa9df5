"""Takes a host off a server."""

import shutil
import subprocess
from collections.abc import Iterator
from functools import partial
from pathlib import Path

from hostkit.definition import Definition
from hostkit.errors import HostError
from hostkit.server import plan, releases, systemd, tree
from hostkit.server.layout import Layout
from hostkit.server.plan import ROOT, Step


def folders_elsewhere(definition: Definition, layout: Layout) -> tuple[Path, ...]:
    """The folders that `install` makes beside the host's own, for what others put there."""
    trees = [tree.tree_of(definition)]
    trees += [tree.read_tree(release.files) for release in releases.all_releases(layout)]
    own = (layout.product, *_own(layout))
    made = {folder for files in trees for folder, _ in plan.folders(layout, files)}
    return tuple(
        folder for folder in sorted(made) if not any(folder.is_relative_to(each) for each in own)
    )


def removable(layout: Layout, *, purge: bool, elsewhere: tuple[Path, ...]) -> tuple[Step, ...]:
    """What taking the host off a server removes, in its order.

    `elsewhere`: `folders_elsewhere`; of these a purge removes the empty ones.
    """
    found = releases.all_releases(layout)
    trees = [tree.read_tree(release.files) for release in found]
    names = {name for files in trees for name in systemd.unit_names(files)}
    steps: list[Step] = []
    if layout.root == ROOT and systemd.is_booted():
        steps += _stop(layout, names)
    removed = list(tree.differences(layout.root, {}, trees))
    steps += [Step("remove", str(item.path), item.settle) for item in removed]
    if removed and layout.root == ROOT and systemd.is_booted():
        steps.append(Step("change", "what systemd knows of the units", plan.reload_units))
    for folder in (layout.product, *(_purged(layout) if purge else ())):
        if folder.is_dir():
            steps.append(Step("remove", str(folder), partial(shutil.rmtree, folder)))
    if purge:
        steps += [Step("remove", str(folder), folder.rmdir) for folder in _empty(elsewhere)]
    if purge and plan.has_user(layout):
        steps.append(Step("remove", f"user {layout.host}", lambda: _remove_user(layout)))
    return tuple(steps)


def _stop(layout: Layout, names: set[str]) -> Iterator[Step]:
    here = [unit for unit in systemd.units(layout.host, names) if unit.loaded == "loaded"]
    if running := [unit.name for unit in here if unit.is_running]:
        yield Step(
            "change",
            f"{', '.join(running)}: stopped",
            lambda: systemd.systemctl("stop", *running),
            slow=f"stopping {layout.host}",
        )
    if enabled := [unit.name for unit in here if unit.enabled == "enabled"]:
        yield Step(
            "change",
            f"{', '.join(enabled)}: not started at boot any more",
            lambda: systemd.systemctl("disable", *enabled),
        )


def _remove_user(layout: Layout) -> None:
    command = ["userdel", layout.host]
    if layout.root != ROOT:
        command[1:1] = ["--prefix", str(layout.root)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        raise HostError(f"'{' '.join(command)}' failed: {done.stderr.strip()}")


def kept(layout: Layout, elsewhere: tuple[Path, ...]) -> list[Path]:
    """What is left of a host that was taken off a server."""
    return [folder for folder in (*_own(layout), *elsewhere) if folder.is_dir()]


def _own(layout: Layout) -> tuple[Path, ...]:
    return layout.configuration, layout.state, layout.backups


def _purged(layout: Layout) -> Iterator[Path]:
    yield from _own(layout)
    for below in ("var/log", "var/cache", "run"):
        yield layout.root / below / layout.host


def _empty(folders: tuple[Path, ...]) -> list[Path]:
    """Those with nothing but each other in them, the innermost first."""
    found: list[Path] = []
    for folder in reversed(folders):
        # A link or a mount is the operator's.
        is_ours = folder.is_dir() and not folder.is_symlink() and not folder.is_mount()
        if is_ours and set(folder.iterdir()) <= set(found):
            found.append(folder)
    return found
