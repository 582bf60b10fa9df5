"""Puts a release on a server, or takes the host off it."""

import fcntl
import os
import shutil
import subprocess
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from hostkit.definition import Definition
from hostkit.errors import HostError, SettingsError
from hostkit.server import plan, releases, systemd, tree
from hostkit.server.layout import Layout
from hostkit.server.machine import read_settings
from hostkit.server.plan import ROOT, Step

Tell = Callable[[str], None]


@dataclass(frozen=True)
class Left:
    """What the operator has to do yet.

    `settings`: what is wrong with the settings, a sentence each.
    `credentials`: those that are empty, which counts as not set.
    `commands`: what to run then.
    """

    settings: tuple[str, ...] = ()
    credentials: tuple[str, ...] = ()
    commands: tuple[str, ...] = ()


@contextmanager
def locked(layout: Layout) -> Iterator[None]:
    """Lets one program at a time change what is installed."""
    layout.product.mkdir(parents=True, exist_ok=True)
    descriptor = os.open(layout.product, os.O_RDONLY | os.O_DIRECTORY)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        yield
    except BlockingIOError:
        raise HostError(
            f"another program changes what is installed in {layout.product}: wait for its end"
        ) from None
    finally:
        os.close(descriptor)


def take(steps: tuple[Step, ...], tell: Tell, done: Callable[[Step], None]) -> None:
    """Takes steps one after the other."""
    for step in steps:
        if step.slow:
            tell(step.slow)
        step.act()
        done(step)


def left(definition: Definition, layout: Layout) -> Left:
    """What is to be done before the host does its work."""
    settings: tuple[str, ...] = ()
    to_run: tuple[str, ...] = ()
    try:
        loaded = read_settings(definition, layout)
        to_run = definition.to_run(loaded) if layout.root == ROOT else ()
    except SettingsError as error:
        settings = tuple(str(error).splitlines())
    running = releases.current(layout)
    files = tree.read_tree(running.files) if running else {}
    credentials = tuple(
        str(path)
        for name in plan.credential_names(files)
        if (path := layout.credentials / name).is_file() and not path.read_bytes().strip()
    )
    commands = (*to_run, *_commands(definition, layout, files))
    return Left(settings, credentials, commands)


def _commands(definition: Definition, layout: Layout, files: tree.Tree) -> Iterator[str]:
    names = systemd.unit_names(files)
    units = systemd.units(layout.host, names) if layout.root == ROOT else []
    main = next((unit for unit in units if unit.name == definition.unit), None)
    if main is None or main.enabled != "enabled" or not main.is_running:
        yield f"systemctl enable --now {definition.unit.removesuffix('.service')}"
        yield f"{layout.host} doctor"


def removable(layout: Layout, *, purge: bool) -> tuple[Step, ...]:
    """What taking the host off a server removes, in its order."""
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
    folders = [layout.product]
    if purge:
        folders += [layout.configuration, layout.state, layout.backups]
        folders += [layout.root / "var/log" / layout.host, layout.root / "var/cache" / layout.host]
    for folder in folders:
        if folder.is_dir():
            steps.append(Step("remove", str(folder), partial(shutil.rmtree, folder)))
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


def kept(layout: Layout) -> list[Path]:
    """What is left of a host that was taken off a server: its data."""
    folders = (layout.configuration, layout.state, layout.backups)
    return [folder for folder in folders if folder.is_dir()]
