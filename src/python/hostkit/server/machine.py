"""Whether a machine can take a host: everything that is in the way is found at once."""

import errno
import os
import shutil
import socket
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from hostkit.definition import Definition
from hostkit.errors import HostError, SettingsError
from hostkit.server import releases, systemd, tree
from hostkit.server.layout import Layout
from hostkit.server.pex import INTERPRETER, Pex
from hostkit.settings import CREDENTIALS_DIRECTORY, Loaded, load
from hostkit.sources import read_env_file

MEBIBYTE = 1024 * 1024
SPACE_TO_LEAVE = 256 * MEBIBYTE
COMPILED_SHARE = 0.5
"""How large compiled modules are, beside all that a PEX file unpacks to."""


def require_root(host: str, command: str) -> None:
    """Raises `HostError` for everybody but root."""
    if os.geteuid() != 0:
        raise HostError(f"only root may do this: 'sudo {host} {command}'")


def check(definition: Definition, layout: Layout, pex: Pex) -> None:
    """Raises `HostError` with one sentence for each thing that is in the way."""
    problems = [*_of_interpreter(layout), *_of_systemd(layout), *_of_folders(layout)]
    problems += [*_of_disk(layout, pex), *_of_port(definition, layout)]
    if problems:
        raise HostError("\n".join(problems))


def read_settings(definition: Definition, layout: Layout) -> Loaded[Any]:
    """The settings as the host's units will read them. Raises `SettingsError`."""
    environment = {CREDENTIALS_DIRECTORY: str(layout.credentials)}
    if not layout.credentials.is_dir():
        environment = {}
    return load(definition.settings, env_file=layout.env_file, environment=environment)


def _of_interpreter(layout: Layout) -> Iterator[str]:
    path = layout.root / INTERPRETER.relative_to("/")
    if not os.access(path, os.X_OK):
        yield (
            f"{path} is missing: a release runs with Python 3.11, which is Debian 12's own"
            " ('apt-get install python3')"
        )


def _of_systemd(layout: Layout) -> Iterator[str]:
    for program in ("systemd-sysusers", "systemd-tmpfiles"):
        if shutil.which(program) is None:
            yield f"the program {program} is missing: install systemd"
    if layout.root != Path("/"):
        return
    version = systemd.version()
    if version is None or not systemd.is_booted():
        yield (
            "systemd does not run this machine: install on one that it runs, or prepare an image"
            " with --root DIR"
        )
    elif version < systemd.OLDEST:
        yield (
            f"systemd is {version}, and the units need {systemd.OLDEST} or newer: upgrade the"
            " distribution (Debian 12 has 252)"
        )
    elif not systemd.has_bus():
        yield (
            "D-Bus is missing, through which commands are run as a service:"
            " 'apt-get install dbus'"
        )


def _of_folders(layout: Layout) -> Iterator[str]:
    folders = [layout.product, layout.configuration, layout.units, layout.command.parent]
    told = set()
    for folder in folders:
        there = _existing(folder)
        if there in told:
            continue
        if not there.is_dir():
            told.add(there)
            yield f"{there} is no folder: move it away"
        elif not os.access(there, os.W_OK):
            told.add(there)
            yield f"{there} cannot be written: mount it for reading and writing"
    if os.statvfs(_existing(layout.product)).f_flag & os.ST_NOEXEC:
        yield f"programs in {_existing(layout.product)} cannot be run: mount it without noexec"


def _of_disk(layout: Layout, pex: Pex) -> Iterator[str]:
    if (layout.releases / releases.name_of(pex)).is_dir():
        return
    unpacked = pex.unpacked_bytes * (1 + COMPILED_SHARE)
    needed = int(unpacked) + pex.path.stat().st_size + SPACE_TO_LEAVE
    folder = _existing(layout.releases)
    free = shutil.disk_usage(folder).free
    if free < needed:
        yield (
            f"the disk of {folder} has {free // MEBIBYTE} MiB free, and the release needs"
            f" {needed // MEBIBYTE} MiB: free some space there"
        )


def _of_port(definition: Definition, layout: Layout) -> Iterator[str]:
    if definition.address is None or layout.root != Path("/") or not systemd.is_booted():
        return
    known = systemd.unit_names(tree.tree_of(definition))
    if any(unit.is_running for unit in systemd.units(definition.name, known)):
        return  # It is ours.
    found = _address(definition, definition.address, layout)
    if found and not _is_free(*found):
        yield (
            f"port {found[1]} of {found[0]} is taken by another program ('ss -ltnp' names it): stop"
            f" it, or set {definition.address[1]} in {layout.env_file} to another"
        )


def _address(
    definition: Definition, variables: tuple[str, str], layout: Layout
) -> tuple[str, int] | None:
    """Where the host is to listen, even if other settings are not valid yet."""
    fields = definition.settings.variables()
    try:
        values = read_env_file(layout.env_file, required=False).values
        address, port = (
            values[name].text if name in values else fields[name].default for name in variables
        )
        return address, int(port)
    except (SettingsError, ValueError):
        return None  # What is wrong with the settings is told elsewhere.


def _is_free(address: str, port: int) -> bool:
    try:
        family, kind, _, _, place = socket.getaddrinfo(address, port, type=socket.SOCK_STREAM)[0]
        with socket.socket(family, kind) as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            probe.bind(place)
            probe.listen()
    except OSError as error:
        return error.errno != errno.EADDRINUSE  # Another fault is no other program.
    return True


def _existing(path: Path) -> Path:
    """The path, or the nearest folder above it that exists."""
    return next(part for part in (path, *path.parents) if os.path.lexists(part))
