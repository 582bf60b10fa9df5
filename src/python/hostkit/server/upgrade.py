"""From one release to another, or back: whatever happens on the way, one of the two is there whole.

Before the first change a journal is written, and it is removed after the last. Who finds one goes
back to the release and the database that it names; to do so twice, or again from the middle, leads
to the same. `Server` is what all this is done to.
"""

import dataclasses
import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, Protocol

from hostkit.errors import HostError
from hostkit.files import sync_folder, write_atomically

Database = Literal["untouched", "changing", "changed"]

_LISTS = ("running", "enabled", "disabled")


@dataclass(frozen=True)
class Journal:
    """What is needed to go back.

    `old`, `new`: the names of the releases.
    `running`: the units that ran.
    `enabled`, `disabled`: the units that are started at boot, and those that could be.
    `database`: what the new release may have done to it.
    `backup`: of the database as the old release left it; None if there is none to need.
    """

    old: str
    new: str
    running: tuple[str, ...]
    enabled: tuple[str, ...]
    disabled: tuple[str, ...]
    database: Database = "untouched"
    backup: str | None = None

    def write(self, path: Path) -> None:
        """Writes it, durably."""
        write_atomically(path, json.dumps(dataclasses.asdict(self), indent=2) + "\n")

    @classmethod
    def read(cls, path: Path) -> "Journal | None":
        """The journal at a path; None if no upgrade is under way. Raises `HostError`."""
        try:
            document: dict[str, Any] = json.loads(path.read_bytes())
            lists = {name: tuple(document[name]) for name in _LISTS}
            return cls(**{**document, **lists})
        except FileNotFoundError:
            return None
        except (ValueError, LookupError, TypeError):
            raise HostError(
                f"{path} cannot be read, so it is not known what to go back to: look at it, remove"
                " it, and install the release that you want"
            ) from None


class Server(Protocol):
    """What is done to a server."""

    def stop(self, units: tuple[str, ...]) -> None:
        """Stops what uses the database."""

    def back_up(self, old: str, new: str) -> str | None:
        """Makes a backup of the database and returns its place; None if there is no database."""

    def restore(self, backup: str) -> None:
        """Puts back the database of a backup."""

    def switch(self, release: str, journal: Journal) -> None:
        """Lets units, other files and the link be those of a release."""

    def start(self, units: tuple[str, ...]) -> None:
        """Starts units again, or lets them go on with what has been switched to."""

    def wait_until_ready(self, units: tuple[str, ...]) -> None:
        """Returns when the units do their work. Raises `HostError` if they do not."""


def change_release(
    server: Server,
    path: Path,
    journal: Journal,
    change_database: Callable[[str | None], bool] | None,
    record: Callable[[Journal], None],
) -> None:
    """Goes to the new release. If that fails it goes back, and raises `HostError`.

    `path`: where the journal is written.
    `change_database`: makes the database the new release's, given the backup; whether it changed
    anything. None for a host that has no database.
    `record`: lets the new release know what it takes the place of.
    """
    journal.write(path)
    try:
        if change_database is not None:
            server.stop(journal.running)
            backup = server.back_up(journal.old, journal.new)
            journal = dataclasses.replace(journal, backup=backup, database="changing")
            journal.write(path)
            changed = change_database(backup)
            journal = dataclasses.replace(journal, database="changed" if changed else "untouched")
            journal.write(path)
        server.switch(journal.new, journal)
        server.start(journal.running)
        server.wait_until_ready(journal.running)
        record(journal)
        remove(path)
    except BaseException as error:
        _go_back_because(server, path, journal, error)
        raise


def _go_back_because(server: Server, path: Path, journal: Journal, error: BaseException) -> None:
    reason = str(error) or type(error).__name__
    try:
        go_back(server, path, journal)
    except HostError as second:
        raise HostError(
            f"the release {journal.new} does not work: {reason}\n"
            f"going back to {journal.old} failed too: {second}\n"
            "mend that, then run the command 'rollback --unfinished'"
        ) from None
    if isinstance(error, Exception):
        raise HostError(
            f"{reason}\nso this server went back to the release {journal.old}, as it was before"
        ) from (None if isinstance(error, HostError) else error)


def go_back(server: Server, path: Path, journal: Journal, *, wait: bool = True) -> None:
    """Goes back to the release and the database that were there, and removes the journal.

    `wait`: until the old release works; at boot it is started later, by whoever waits for this.
    """
    if journal.database != "untouched":
        server.stop(journal.running)
        if journal.backup is not None:
            server.restore(journal.backup)
    server.switch(journal.old, journal)
    server.start(journal.running)
    if wait:
        server.wait_until_ready(journal.running)
    remove(path)


def remove(path: Path) -> None:
    """Removes the journal: there is nothing left to go back from."""
    path.unlink(missing_ok=True)
    sync_folder(path.parent)
