"""Whether Airflow's database has the schema that this release needs, found out without Airflow.

Importing Airflow takes seconds; reading two rows and the headers of its migrations does not.
"""

import importlib.util
import re
from dataclasses import dataclass
from enum import Enum, auto
from pathlib import Path

import sqlalchemy as sa

_REVISION = re.compile(r"^(down_)?revision(?:: [^=]+)? = (.+)$", re.MULTILINE)
_NAME = re.compile(r"""["'](\w+)["']""")


@dataclass(frozen=True)
class Schema:
    """A set of tables with a version of its own.

    `version_table`: where Alembic keeps its revision.
    `folder`: where its migrations are, below the package `airflow`.
    """

    version_table: str
    folder: str


SCHEMAS = (
    Schema("alembic_version", "migrations/versions"),
    Schema("alembic_version_fab", "providers/fab/migrations/versions"),
)


class State(Enum):
    """What a database's schema is, seen from this release."""

    EMPTY = auto()
    """Nothing there, or an initialisation that did not come to its end."""

    OLDER = auto()
    CURRENT = auto()

    NEWER = auto()
    """It has a revision that this release has never heard of."""


@dataclass(frozen=True)
class Revisions:
    """What a release knows of a schema: the revision that it needs, and all before it."""

    head: str
    known: frozenset[str]


def state(engine: sa.Engine) -> State:
    """Compares a database with this release."""
    found = [_revision(engine, schema) for schema in SCHEMAS]
    wanted = [revisions(schema) for schema in SCHEMAS]
    if any(
        revision and revision not in want.known
        for revision, want in zip(found, wanted, strict=True)
    ):
        return State.NEWER
    if found == [want.head for want in wanted]:
        return State.CURRENT
    core, _ = found
    return State.EMPTY if core in (None, wanted[0].head) and None in found else State.OLDER


def _revision(engine: sa.Engine, schema: Schema) -> str | None:
    if not sa.inspect(engine).has_table(schema.version_table):
        return None
    table = sa.table(schema.version_table, sa.column("version_num", sa.String))
    with engine.connect() as connection:
        return connection.scalar(sa.select(table.c.version_num))


def revisions(schema: Schema) -> Revisions:
    """Reads the headers of the migrations that came with this release."""
    known: set[str] = set()
    passed: set[str] = set()
    for path in _migrations(schema):
        for down, value in _REVISION.findall(path.read_text(encoding="utf-8")):
            (passed if down else known).update(_NAME.findall(value))
    (head,) = known - passed
    return Revisions(head, frozenset(known))


def _migrations(schema: Schema) -> list[Path]:
    package = importlib.util.find_spec("airflow")  # Finds it without running it.
    if package is None or not package.submodule_search_locations:
        raise ModuleNotFoundError("airflow")
    folders = [Path(place) / schema.folder for place in package.submodule_search_locations]
    return [path for folder in folders for path in sorted(folder.glob("*.py"))]
