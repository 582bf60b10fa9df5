"""A real server, as an upgrade sees it: systemd, the files of releases, and the database."""

import json
import subprocess
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from hostkit.definition import Definition
from hostkit.errors import HostError
from hostkit.server import backup as backups
from hostkit.server import plan, releases, systemd, tree
from hostkit.server.layout import Layout
from hostkit.server.machine import read_settings
from hostkit.server.manifest import Upgrade
from hostkit.server.systemd import Unit
from hostkit.server.upgrade import Journal

SECONDS_TO_GET_READY = 360.0
SECONDS_BETWEEN_LOOKS = 0.2
RESTARTS_TO_GIVE_UP = 2
"""A service that ends so often without having been ready does not work."""

Tell = Callable[[str], None]


@dataclass(frozen=True)
class Machine:
    """The machine that this runs on.

    `definition`, `layout`: the host on it, and its paths.
    `tell`: is told what goes on.
    """

    definition: Definition
    layout: Layout
    tell: Tell

    def units(self) -> list[Unit]:
        """The host's units, those of all releases."""
        trees = [tree.read_tree(item.files) for item in releases.all_releases(self.layout)]
        names = {name for files in trees for name in systemd.unit_names(files)}
        return [unit for unit in systemd.units(self.layout.host, names) if unit.loaded == "loaded"]

    def journal(self, old: str, new: str) -> Journal:
        """What is now, for whoever must go back to it."""
        found = self.units()
        return Journal(
            old=old,
            new=new,
            running=tuple(unit.name for unit in found if unit.is_server and unit.is_running),
            enabled=tuple(unit.name for unit in found if unit.enabled == "enabled"),
            disabled=tuple(unit.name for unit in found if unit.enabled == "disabled"),
        )

    def stop(self, units: tuple[str, ...]) -> None:
        """Stops what uses the database: also a backup or a clean-up that runs at the moment."""
        doomed = [
            unit.name
            for unit in self.units()
            if unit.is_running
            and (unit.name in units or (unit.type == "oneshot" and unit.name != self._recovery))
        ]
        if doomed:
            self.tell(f"stopping {', '.join(doomed)}")
            systemd.systemctl("stop", *doomed)

    def back_up(self, old: str, new: str) -> str | None:
        """Makes a backup of the database."""
        self.tell("making a backup of the database")
        made = backups.create(
            self.definition,
            read_settings(self.definition, self.layout),
            self.layout,
            backups.new_folder(self.layout),
            with_folders=False,
            upgrade=Upgrade(old, new),
        )
        return str(made.folder)

    def migrate(self, release: str) -> bool:
        """Lets a release bring the database up to itself; whether it had to change anything."""
        self.tell("bringing the database up to the release")
        answer = self._run(release, "migrate", "--json")
        try:
            changed: bool = json.loads(answer)["changed"]
        except (ValueError, LookupError):
            raise HostError(f"'migrate --json' answered {answer!r}") from None
        return changed

    def restore(self, backup: str, release: str | None = None) -> None:
        """Puts back the database of a backup."""
        self.tell(f"restoring the database of {backup}")
        self._run(release, "restore", "--database-only", "--yes", backup)

    def switch(self, release: str, journal: Journal) -> None:
        """Lets units, other files and the link be those of a release."""
        found = releases.find(self.layout, release)
        files = tree.read_tree(found.files)
        steps = list(plan.file_steps(self.layout, files, found.name))
        changed = {Path(step.what).name for step in steps}
        here = {unit.name for unit in self.units()}
        # A socket that stays as it is stays open: no connection is refused meanwhile.
        if sockets := [name for name in here & changed if name.endswith(".socket")]:
            systemd.systemctl("stop", *sockets)
        wanted = set(systemd.unit_names(files))
        if gone := sorted(name for name in here - wanted if "@" not in name):
            systemd.systemctl("disable", "--now", *gone)
        for step in steps:
            step.act()
        releases.switch(self.layout, found)
        if steps:
            plan.reload_units()
            self._enable(wanted, journal)

    def _enable(self, wanted: set[str], journal: Journal) -> None:
        """Lets the same units be started at boot as before, as their files say it now."""
        if enabled := sorted(wanted & set(journal.enabled)):
            systemd.systemctl("reenable", *enabled)
        if disabled := sorted(wanted & set(journal.disabled)):
            systemd.systemctl("disable", *disabled)

    def start(self, units: tuple[str, ...]) -> None:
        """Starts units again; a socket that is open stays open."""
        if not units:
            return
        found = self.units()
        here = {unit.name for unit in found}
        sockets = [name for name in units if name.endswith(".socket") and name in here]
        timers = [
            unit.name
            for unit in found
            if unit.name.endswith(".timer") and unit.enabled == "enabled"
        ]
        if sockets or timers:
            systemd.systemctl("start", "--no-block", *sockets, *timers)
        if others := [name for name in units if name in here and name not in sockets]:
            self.tell(f"starting {', '.join(others)}")
            systemd.systemctl("restart", "--no-block", *others)

    def wait_until_ready(self, units: tuple[str, ...]) -> None:
        """Returns when the units do their work. Raises `HostError` if they do not."""
        start = time.time()
        deadline = time.monotonic() + SECONDS_TO_GET_READY
        before: dict[str, int] = {}
        while waited_for := self._not_ready(units, start, before):
            if time.monotonic() > deadline:
                raise self._failure(
                    waited_for, start, f"was not ready after {SECONDS_TO_GET_READY:g} s"
                )
            time.sleep(SECONDS_BETWEEN_LOOKS)

    def _not_ready(
        self, units: tuple[str, ...], start: float, before: dict[str, int]
    ) -> str | None:
        """A unit that is not ready yet; None if all are."""
        waited_for = None
        for unit in self.units():
            if not unit.is_server or not (unit.name in units or unit.is_running or unit.busy):
                continue
            first = before.setdefault(unit.name, unit.restarts)
            if unit.active == "failed" and not unit.busy:
                raise self._failure(unit.name, start, f"failed ({unit.result})")
            if unit.restarts - first >= RESTARTS_TO_GIVE_UP:
                raise self._failure(unit.name, start, "ended again and again")
            if unit.result == "timeout" and unit.sub == "auto-restart":
                raise self._failure(unit.name, start, "did not get ready in time")
            if unit.busy or unit.active != "active":
                waited_for = unit.name
        return waited_for

    def _failure(self, unit: str, start: float, what: str) -> HostError:
        lines = systemd.journal(unit, since=start)
        told = "".join(f"\n  {line}" for line in lines) or " none"
        return HostError(f"{unit} {what}; the last lines of its journal:{told}")

    def _run(self, release: str | None, *arguments: str) -> str:
        folder = releases.find(self.layout, release).folder if release else None
        done: subprocess.CompletedProcess[str] = systemd.run_as_service(
            self.layout, arguments, release=folder, capture=True
        )
        if done.returncode:
            lines = [line.strip() for line in done.stderr.splitlines() if line.strip()]
            errors = [line.removeprefix("error: ") for line in lines if line.startswith("error: ")]
            reason = "; ".join(errors) or "\n".join(lines[-systemd.LINES_OF_A_JOURNAL :])
            reason = reason or f"it ended with {done.returncode} and said nothing"
            raise HostError(f"'{' '.join(arguments)}' failed: {reason}")
        return done.stdout

    @property
    def _recovery(self) -> str:
        return f"{self.layout.host}-recover.service"
