"""How a host is: its units, its release, its links, its disk and its backups."""

import shutil
from dataclasses import dataclass
from pathlib import Path

from hostkit.definition import Definition
from hostkit.doctor.steps import Walk, examine
from hostkit.errors import HostError
from hostkit.server import releases, systemd, tree
from hostkit.server.backup import backups_in
from hostkit.server.layout import Layout
from hostkit.server.machine import read_settings
from hostkit.server.releases import Release
from hostkit.server.systemd import Unit

CONNECTION = frozenset({"name", "tcp", "tls", "http"})
"""The steps of the doctor that change nothing and take no time."""


@dataclass(frozen=True)
class LinkStatus:
    """Another server.

    `name`, `target`: which, and the setting that names it.
    `well`: whether it answers.
    `seen`: what it answered, or what was seen instead.
    """

    name: str
    target: str
    well: bool
    seen: str


@dataclass(frozen=True)
class DiskStatus:
    """The disk that a folder is on; in bytes."""

    folder: str
    free: int
    total: int


@dataclass(frozen=True)
class Status:
    """How a host is.

    `release`: the one that runs; None if none is installed.
    `unfinished`: whether an upgrade was interrupted.
    `units`: those that should run all the time, and timers.
    `links`: None where whoever asks may not read the settings.
    `last_backup`: when it was made; None if there is none.
    `backups_known`: whether whoever asks may look.
    """

    host: str
    release: Release | None
    unfinished: bool
    units: tuple[Unit, ...]
    links: tuple[LinkStatus, ...] | None
    disks: tuple[DiskStatus, ...]
    last_backup: str | None
    backups_known: bool

    @property
    def well(self) -> bool:
        """Whether everything that should run does."""
        return bool(self.units) and all(unit.active == "active" for unit in self.units)


def look(definition: Definition, layout: Layout) -> Status:
    """Looks at everything that whoever asks may see."""
    release = releases.current(layout)
    last_backup, backups_known = _last_backup(layout)
    return Status(
        host=definition.name,
        release=release,
        unfinished=layout.unfinished.exists(),
        units=_units(layout, release),
        links=_links(definition, layout),
        disks=_disks(layout),
        last_backup=last_backup,
        backups_known=backups_known,
    )


def _units(layout: Layout, release: Release | None) -> tuple[Unit, ...]:
    if release is None or not systemd.is_booted():
        return ()
    names = systemd.unit_names(tree.read_tree(release.files))
    return tuple(unit for unit in systemd.units(layout.host, names) if unit.type != "oneshot")


def _links(definition: Definition, layout: Layout) -> tuple[LinkStatus, ...] | None:
    try:
        walks = definition.walks(read_settings(definition, layout))
    except (HostError, OSError):
        return None
    chosen = [
        Walk(walk.name, walk.target, steps)
        for walk in walks
        if (steps := tuple(step for step in walk.steps if step.name in CONNECTION))
    ]
    return tuple(
        LinkStatus(report.name, report.target, report.well, report.steps[-1].seen)
        for report in examine(chosen)
    )


def _disks(layout: Layout) -> tuple[DiskStatus, ...]:
    seen: dict[int, DiskStatus] = {}
    for folder in (layout.state, layout.product, layout.backups):
        there = next(path for path in (folder, *folder.parents) if path.exists())
        usage = shutil.disk_usage(there)
        seen.setdefault(there.stat().st_dev, DiskStatus(str(there), usage.free, usage.total))
    return tuple(seen.values())


def _last_backup(layout: Layout) -> tuple[str | None, bool]:
    try:
        found = backups_in(Path(layout.backups), layout.host)
    except PermissionError:
        return None, False
    return (found[-1].manifest.made if found else None), True
