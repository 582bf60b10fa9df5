"""A host's database: copied while the host runs, checked, and put back."""

import sqlite3
from contextlib import closing, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, Protocol
from urllib.parse import unquote

from hostkit.errors import HostError
from hostkit.network import redacted
from hostkit.server.identity import Identity
from hostkit.server.postgresql import Postgresql
from hostkit.server.swap import Swap
from hostkit.server.trees import Note, copy_file, give, make_folder

PAGES_AT_ONCE = 4096
MOST_NEW_STARTS = 3
SECONDS_TO_WAIT_FOR_A_LOCK = 60.0

COMPANIONS = ("-wal", "-shm", "-journal")
"""What SQLite keeps beside a file; it belongs to that file and no other."""


class Database(Protocol):
    """What `Sqlite` and `Postgresql` can do.

    `file_name`: of its copy in a backup.
    """

    @property
    def file_name(self) -> Literal["database.sqlite", "database.pgdump"]:
        """The name of its copy in a backup."""

    def exists(self) -> bool:
        """Whether there is one."""

    def size(self) -> int:
        """About how many bytes a copy takes."""

    def copy(self, target: Path, note: Note) -> None:
        """Writes a copy of one moment. Others may write meanwhile."""

    def check(self, copy: Path) -> None:
        """Raises `HostError` where a copy could not be put back."""

    def replace(self, copy: Path | None, aside: str, identity: Identity) -> str:
        """Puts a copy in the place of what is there, which is kept; returns where.

        `copy`: None to have no database.
        `aside`: what the name of what is kept ends with.
        """


def database_of(url: str) -> Database:
    """The database of a URL as SQLAlchemy writes it."""
    if url.startswith("postgresql"):
        return Postgresql.of(url)
    return Sqlite.of(url)


@dataclass(frozen=True)
class Sqlite:
    """A database in one file."""

    path: Path

    @classmethod
    def of(cls, url: str) -> "Sqlite":
        """The database of a URL `sqlite:////PATH`."""
        scheme, separator, rest = url.partition(":///")
        path = Path(unquote(rest.partition("?")[0]))
        if scheme.partition("+")[0] != "sqlite" or not separator or not path.is_absolute():
            raise HostError(
                f"the database {redacted(url)} can be neither backed up nor restored: only"
                " sqlite:////PATH and postgresql://... can"
            )
        return cls(path)

    def __str__(self) -> str:
        return str(self.path)

    @property
    def file_name(self) -> Literal["database.sqlite"]:
        """The name of its copy in a backup."""
        return "database.sqlite"

    def exists(self) -> bool:
        """Whether there is such a file."""
        return self.path.exists()

    def size(self) -> int:
        """The size of the file, and of what waits to get into it."""
        wal = Path(f"{self.path}-wal")
        return self.path.stat().st_size + (wal.stat().st_size if wal.exists() else 0)

    def copy(self, target: Path, note: Note) -> None:
        """Writes a copy of one moment.

        In small steps at first, which let writers in between. A write starts the copy anew: after
        some of these it is made in one step, for which writers wait.
        """
        try:
            with closing(self._connect("rw")) as source:
                try:
                    _copy_in_steps(source, target, note)
                except _TooManyNewStartsError:
                    target.unlink()
                    with closing(sqlite3.connect(target)) as copy:
                        source.backup(copy)
                note(target.stat().st_size)
        except sqlite3.Error as error:
            raise HostError(f"the database {self.path} cannot be copied: {error}") from None

    def check(self, copy: Path) -> None:
        """Lets SQLite check every page and index."""
        try:
            with closing(
                sqlite3.connect(f"{copy.as_uri()}?mode=ro&immutable=1", uri=True)
            ) as connection:
                (answer,) = connection.execute("PRAGMA integrity_check(1)").fetchone()
        except sqlite3.Error as error:
            answer = str(error)
        if answer != "ok":
            raise HostError(
                f"{copy} is no sound SQLite database ({answer}): so is {self.path}, or the disk is"
                " failing; restore an older backup"
            )

    def replace(self, copy: Path | None, aside: str, identity: Identity) -> str:
        """Puts a copy in the place of the file, which is kept beside it."""
        with identity.acting(), suppress(sqlite3.Error):  # It may be what is to be repaired.
            if self.exists():
                with closing(self._connect("rw")) as present:
                    present.execute("PRAGMA wal_checkpoint(TRUNCATE)")
        make_folder(self.path.parent, identity)
        swap = Swap(self.path, aside)
        if copy is not None:
            copy_file(copy, swap.new)
            swap.new.chmod(0o600)
            give(swap.new, identity)
        for suffix in COMPANIONS:  # Else SQLite would write an old log into the new file.
            with suppress(FileNotFoundError):
                Path(f"{self.path}{suffix}").rename(f"{swap.old}{suffix}")
        return swap.done()

    def _connect(self, mode: str) -> sqlite3.Connection:
        return sqlite3.connect(
            f"{self.path.as_uri()}?mode={mode}", uri=True, timeout=SECONDS_TO_WAIT_FOR_A_LOCK
        )


class _TooManyNewStartsError(Exception):
    """Others write so often that steps do not come to an end."""


def _copy_in_steps(source: sqlite3.Connection, target: Path, note: Note) -> None:
    least = None
    starts = 0

    def count(_status: int, remaining: int, _total: int) -> None:
        nonlocal least, starts
        if least is not None and remaining > least:
            starts += 1
            if starts > MOST_NEW_STARTS:
                raise _TooManyNewStartsError
        least = remaining
        note(0)

    with closing(sqlite3.connect(target)) as copy:
        source.backup(copy, pages=PAGES_AT_ONCE, progress=count, sleep=0.01)
