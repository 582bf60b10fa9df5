"""Replaces a secret by a new one, step by step: it can be cut off anywhere, and goes on there.

What has to survive is one file beside the credentials: the former value, the new one, and which
steps are done. It is there before anything changes, and goes when everything has worked.
"""

import contextlib
import json
import time
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Self

from hostkit.definition import Definition
from hostkit.errors import HostError
from hostkit.files import sync_folder, write_atomically
from hostkit.rotation import Change, Rotation, Server
from hostkit.server import plan, releases, systemd, tree
from hostkit.server.layout import Layout
from hostkit.server.operations import Machine
from hostkit.settings import CREDENTIALS_DIRECTORY, load

SECONDS_OF_A_DAY = 24 * 60 * 60

Tell = Callable[[str], None]


@dataclass(frozen=True)
class Journal:
    """What is known of a rotation that is under way.

    `name`: of the credential.
    `former`, `new`: its values.
    `done`: the names of the steps that are.
    """

    name: str
    former: str = field(repr=False)
    new: str = field(repr=False)
    done: tuple[str, ...] = ()

    @classmethod
    def read(cls, path: Path) -> Self | None:
        """What was noted; None if no rotation is under way."""
        try:
            document = json.loads(path.read_text(encoding="utf-8"))
        except FileNotFoundError:
            return None
        return cls(**{**document, "done": tuple(document["done"])})

    def write(self, path: Path) -> None:
        """Notes it."""
        write_atomically(path, json.dumps(asdict(self)), mode=0o600)


@dataclass(frozen=True)
class Secret:
    """What is known of a credential, but for its value.

    `days`: since when it has been as it is; None if it is not set.
    `generated`: whether `rotate` makes the new value.
    `unfinished`: whether a rotation of it was cut off.
    """

    name: str
    use: str
    days: int | None
    generated: bool
    unfinished: bool


def journal_path(layout: Layout, name: str) -> Path:
    """Where a rotation is noted: a name that no setting has."""
    return layout.credentials / f".{name}.rotation"


def rotations(definition: Definition, layout: Layout) -> dict[str, Rotation]:
    """How each credential of the host is rotated, by name."""
    running = releases.current(layout)
    names = plan.credential_names(tree.read_tree(running.files)) if running else []
    known = {name: definition.rotations.get(name) or _plain(definition, name) for name in names}
    return {**known, **definition.rotations}


def _plain(definition: Definition, name: str) -> Rotation:
    info = definition.settings.variables().get(name)
    use = (info.description if info else None) or "for libraries that the host uses"
    return Rotation(use.rstrip("."), definition.secrets.get(name))


def secrets(definition: Definition, layout: Layout) -> Iterator[Secret]:
    """All credentials of the host."""
    for name, rotation in sorted(rotations(definition, layout).items()):
        path = layout.credentials / name
        is_set = path.is_file() and bool(path.read_bytes().strip())
        days = int((time.time() - path.stat().st_mtime) // SECONDS_OF_A_DAY) if is_set else None
        unfinished = journal_path(layout, name).exists()
        yield Secret(name, rotation.use, days, rotation.make is not None, unfinished)


def begin(layout: Layout, name: str, rotation: Rotation, given: str | None) -> Journal:
    """What is to be done: the rest of a rotation that was cut off, or a new one."""
    path = journal_path(layout, name)
    if found := Journal.read(path):
        if given is not None and given != found.new:
            raise HostError(
                f"a rotation of {name} was cut off: end it with 'rotate {name}', or go back with"
                f" 'rotate {name} --back', before another value is given"
            )
        return found
    if given is None and rotation.make is None:
        raise HostError(
            f"{name} comes from elsewhere: hand the new value over on standard input, 'rotate"
            f" {name} --stdin < FILE'"
        )
    credential = layout.credentials / name
    former = credential.read_text(encoding="utf-8").rstrip("\n") if credential.exists() else ""
    new = given if given is not None else rotation.make() if rotation.make else ""
    return Journal(name, former, new)


def back(layout: Layout, name: str) -> Journal:
    """The way back of a rotation that was cut off or did not work."""
    found = Journal.read(journal_path(layout, name))
    if found is None:
        raise HostError(f"no rotation of {name} is unfinished: there is nothing to go back to")
    return Journal(name, former=found.new, new=found.former)


def carry_out(
    layout: Layout, rotation: Rotation, journal: Journal, server: Server, tell: Tell
) -> None:
    """Takes the steps that are not done yet. Raises `HostError` if one fails, and stays there."""
    path = journal_path(layout, journal.name)
    journal.write(path)
    for step in rotation.steps:
        if step.name in journal.done:
            continue
        tell(step.name)
        step.act(server, Change(journal.name, journal.former, journal.new))
        journal = replace(journal, done=(*journal.done, step.name))
        journal.write(path)
    path.unlink()
    sync_folder(path.parent)


def check(definition: Definition, layout: Layout, name: str, value: str) -> None:
    """Raises `SettingsError` if the host would not start with this value of a credential."""
    with TemporaryDirectory() as folder:
        credentials = Path(folder)
        for path in layout.credentials.iterdir():
            if path.name != name:
                (credentials / path.name).symlink_to(path)
        (credentials / name).write_text(value)
        environment = {CREDENTIALS_DIRECTORY: folder}
        load(definition.settings, env_file=layout.env_file, environment=environment)


@dataclass(frozen=True)
class InstalledServer:
    """The server that this runs on, with systemd."""

    machine: Machine

    def write(self, name: str, value: str) -> None:
        """Replaces a credential."""
        write_atomically(self.machine.layout.credentials / name, value, mode=0o600)

    def users(self, name: str) -> tuple[str, ...]:
        """The units that run and have loaded a credential."""
        return tuple(
            unit.name
            for unit in self.machine.units()
            if unit.is_server and unit.is_running and name in self._credentials(unit.name)
        )

    def restart(self, units: tuple[str, ...]) -> None:
        """Restarts units, and returns when they are well."""
        running = tuple(unit for unit in units if self.is_running(unit))
        self.machine.start(running)
        self.machine.wait_until_ready(running)

    def is_running(self, unit: str) -> bool:
        """Whether a unit runs."""
        return any(found.name == unit and found.is_running for found in self.machine.units())

    def run(self, *arguments: str) -> None:
        """Runs a command of the host as its service does."""
        if systemd.run_as_service(self.machine.layout, arguments).returncode:
            host = self.machine.layout.host
            raise HostError(f"'{host} {' '.join(arguments)}' failed, as is said above")

    def _credentials(self, unit: str) -> list[str]:
        start, instance, _ = unit.partition("@")
        path = self.machine.layout.units / (f"{start}@.service" if instance else unit)
        with contextlib.suppress(FileNotFoundError):
            return list(systemd.credentials_in(path.read_text()))
        return []
