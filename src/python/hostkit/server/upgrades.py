"""Upgrades of a machine, rollbacks, and what to do about one that was interrupted."""

import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from hostkit.errors import HostError, SettingsError
from hostkit.server import releases, systemd
from hostkit.server.machine import read_settings
from hostkit.server.operations import Machine
from hostkit.server.plan import ROOT, Plan
from hostkit.server.releases import Release
from hostkit.server.upgrade import Journal, change_release, go_back


def check(host: Machine, plan: Plan) -> None:
    """Finds out before anything changes whether an upgrade of a host that runs can work."""
    if plan.previous is None or host.layout.root != ROOT:
        return
    if host.journal(plan.previous.name, plan.release).running:
        read_settings(host.definition, host.layout)  # They must be valid for this release too.


def upgrade(host: Machine, old: Release, new: Release) -> None:
    """Goes to a newer release: database, files, units. Raises `HostError` if that went wrong."""
    journal = host.journal(old.name, new.name)

    def record(journal: Journal) -> None:
        backup = journal.backup if journal.database == "changed" else None
        releases.record(new, previous=old.name, backup=backup)

    change: Callable[[str | None], bool] | None = None
    # A host that was never set up has no database to migrate.
    if host.definition.migrates and _has_settings(host):
        change = lambda _: host.migrate(new.name)  # noqa: E731
    change_release(host, host.layout.unfinished, journal, change, record)


def finish_unfinished(host: Machine) -> Journal | None:
    """Goes back from an upgrade that was interrupted; returns its journal, or None."""
    journal = Journal.read(host.layout.unfinished)
    if journal is not None:
        host.tell(f"going back to {journal.old}: the upgrade to {journal.new} was interrupted")
        # At boot the units are started by systemd, which waits for this.
        go_back(host, host.layout.unfinished, journal, wait=not systemd.is_booting())
    return journal


@dataclass(frozen=True)
class Rollback:
    """A way back.

    `current`, `target`: the releases.
    `backup`: of the database as it was before the first release after the target changed it.
    """

    current: Release
    target: Release
    backup: Path | None

    def backup_made(self) -> str | None:
        """When the backup was made, in UTC."""
        if self.backup is None:
            return None
        try:
            made: str = json.loads((self.backup / "manifest.json").read_bytes())["made"]
        except (OSError, ValueError, LookupError):
            raise HostError(
                f"the backup {self.backup}, which goes with {self.target}, cannot be read: without"
                " it there is no way back to that release"
            ) from None
        return made


def plan_rollback(host: Machine, to: str | None) -> Rollback:
    """The way to the previous release, or to the one that `to` begins the name of."""
    layout = host.layout
    current = releases.current(layout)
    if current is None:
        raise HostError(f"{layout.host} is not installed here: run 'install' of its PEX file")
    if to is None and current.previous is None:
        there = ", ".join(str(item) for item in releases.all_releases(layout))
        raise HostError(
            f"{current} took the place of no other release; name one with --to, of: {there}"
        )
    target = releases.find(layout, to or current.previous or "")
    if target.name == current.name:
        raise HostError(f"{target} runs already")
    return Rollback(current, target, _backup_between(host, current, target))


def roll_back(host: Machine, way: Rollback) -> None:
    """Goes back to an earlier release, and to the database that it had."""
    journal = host.journal(way.current.name, way.target.name)
    backup = way.backup

    def restore(_: str | None) -> bool:
        host.restore(str(backup), way.current.name)
        return True

    change = restore if backup is not None else None
    change_release(host, host.layout.unfinished, journal, change, lambda _: None)


def _backup_between(host: Machine, current: Release, target: Release) -> Path | None:
    """The backup from before the first migration after the target."""
    there = {item.name: item for item in releases.all_releases(host.layout)}
    backup = None
    release: Release | None = current
    seen: set[str] = set()
    while release is not None and release.name != target.name and release.name not in seen:
        seen.add(release.name)
        backup = release.backup or backup
        release = there.get(release.previous or "")
    if release is None or release.name != target.name:
        return None  # It came another way: its database is not known to differ.
    return Path(backup) if backup else None


def _has_settings(host: Machine) -> bool:
    try:
        read_settings(host.definition, host.layout)
    except SettingsError:
        return False
    return True
