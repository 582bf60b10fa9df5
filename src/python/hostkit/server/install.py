"""Puts a release on a server."""

import fcntl
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

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
