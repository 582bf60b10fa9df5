"""Whether Airflow's database has the schema that this release needs, found out without Airflow."""

from dataclasses import dataclass
from enum import Enum, auto

import sqlalchemy as sa

from hostkit.migrations import Revisions, read_revisions


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
    """What the migrations that came with this release say."""
    return read_revisions("airflow", schema.folder)
