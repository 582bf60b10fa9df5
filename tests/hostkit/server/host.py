"""A host for tests: a database, a folder of artifacts, an env file, below one folder."""

import sqlite3
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

from hostkit.definition import Contents, Definition, Entrance, OwnFile
from hostkit.server.layout import Layout
from hostkit.settings import Loaded, Settings, load


class TestSettings(Settings):
    """Where the host keeps what it has."""

    __test__ = False

    host_name: ClassVar[str] = "test-host"

    database: str
    artifacts: Path
    people: Path


DEFINITION = Definition(
    settings=TestSettings,
    distributions=("pytest",),
    unit="test-host.service",
    contents=lambda loaded: Contents(
        loaded.settings.database,
        {"artifacts": loaded.settings.artifacts},
        {"people.json": OwnFile(loaded.settings.people, "Those who left are back.")},
    ),
    entrance=lambda _: Entrance(None, "URL", "127.0.0.1", 1, None, 1),
)


@dataclass(frozen=True)
class Host:
    """The host, installed below a folder."""

    root: Path
    url: str

    @classmethod
    def make(cls, root: Path, url: str | None = None) -> "Host":
        """Makes its folders and its env file."""
        host = cls(root, url or f"sqlite:///{root}/var/lib/test-host/test.db")
        host.artifacts.mkdir(parents=True)
        host.layout.configuration.mkdir(parents=True)
        host.layout.env_file.write_text(
            f"DATABASE={host.url}\nARTIFACTS={host.artifacts}\nPEOPLE={host.people}\n"
        )
        host.layout.env_file.chmod(0o640)
        return host

    @property
    def layout(self) -> Layout:
        """Where its files are."""
        return Layout("test-host", self.root)

    @property
    def artifacts(self) -> Path:
        """Its folder."""
        return self.layout.state / "artifacts"

    @property
    def people(self) -> Path:
        """Its file beside the settings."""
        return self.layout.configuration / "people.json"

    @property
    def database(self) -> Path:
        """Its SQLite file."""
        return self.layout.state / "test.db"

    @property
    def loaded(self) -> Loaded[TestSettings]:
        """Its settings."""
        return load(TestSettings, env_file=self.layout.env_file, environment={})

    def execute(self, *statements: str) -> list[tuple[object, ...]]:
        """Runs statements on its SQLite database; returns the rows of the last."""
        with closing(sqlite3.connect(self.database)) as connection, connection:
            for statement in statements:
                rows = connection.execute(statement).fetchall()
        return rows


def tree(folder: Path) -> dict[str, str | bytes | None]:
    """What is below a folder: the content of files, the target of links, None for folders."""
    found: dict[str, str | bytes | None] = {}
    for path in sorted(folder.rglob("*")):
        name = str(path.relative_to(folder))
        if path.is_symlink():
            found[name] = str(path.readlink())
        else:
            found[name] = path.read_bytes() if path.is_file() else None
    return found
