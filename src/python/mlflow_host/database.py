"""The schema of the database: made where there is none, checked at start, upgraded on command."""

from collections.abc import Iterator
from contextlib import contextmanager
from enum import Enum, auto
from pathlib import Path

import sqlalchemy
from sqlalchemy.exc import DBAPIError, SQLAlchemyError

from hostkit.errors import HostError
from hostkit.migrations import read_revisions
from hostkit.network import redacted

_MIGRATIONS = "store/db_migrations/versions"
_VERSION_TABLE = "alembic_version"


class Schema(Enum):
    """How the schema of a database stands to the one that this release of MLflow needs."""

    EMPTY = auto()
    CURRENT = auto()
    OLDER = auto()
    NEWER = auto()
    FOREIGN = auto()  # It holds the tables of another program.


def prepare(uri: str) -> Schema:
    """Makes the schema of an empty database; refuses one that does not fit, and says what to do.

    Returns how it stood before.
    """
    with explained(uri):
        _make_folder(uri)
        state = state_of(uri)
        match state:
            case Schema.EMPTY:
                _upgrade(uri)
            case Schema.OLDER:
                raise HostError(
                    f"the database {redacted(uri)} has the schema of an older MLflow: make a backup"
                    " of it, then run 'mlflow_host.pex migrate'"
                )
            case Schema.NEWER | Schema.FOREIGN:
                raise _refusal(uri, state)
    return state


def migrate(uri: str) -> Schema:
    """Makes or upgrades the schema. Returns how it stood before."""
    with explained(uri):
        _make_folder(uri)
        state = state_of(uri)
        match state:
            case Schema.EMPTY | Schema.OLDER:
                _upgrade(uri)
            case Schema.NEWER | Schema.FOREIGN:
                raise _refusal(uri, state)
    return state


def state_of(uri: str) -> Schema:
    """Compares a database with this release, without importing MLflow, which takes seconds.

    Raises what SQLAlchemy raises.
    """
    engine = sqlalchemy.create_engine(uri)
    try:
        with engine.connect() as connection:
            tables = sqlalchemy.inspect(connection).get_table_names()
            revision = _revision(connection) if _VERSION_TABLE in tables else None
    finally:
        engine.dispose()
    if not [table for table in tables if not table.startswith("alembic_")]:
        return Schema.EMPTY
    if revision is None:  # MLflow makes its first tables before its first revision.
        return Schema.OLDER if "experiments" in tables else Schema.FOREIGN
    revisions = read_revisions("mlflow", _MIGRATIONS)
    if revision == revisions.head:
        return Schema.CURRENT
    return Schema.OLDER if revision in revisions.known else Schema.NEWER


def _revision(connection: sqlalchemy.Connection) -> str | None:
    table = sqlalchemy.table(_VERSION_TABLE, sqlalchemy.column("version_num", sqlalchemy.String))
    return connection.scalar(sqlalchemy.select(table.c.version_num))


def _make_folder(uri: str) -> None:
    url = sqlalchemy.make_url(uri)
    if url.get_backend_name() == "sqlite":
        Path(str(url.database)).parent.mkdir(parents=True, exist_ok=True)


def _upgrade(uri: str) -> None:
    """What `mlflow db upgrade` does."""
    import mlflow.db  # noqa: PLC0415 (takes two seconds)

    assert mlflow.db.upgrade.callback is not None  # noqa: S101
    mlflow.db.upgrade.callback(uri)


def _refusal(uri: str, state: Schema) -> HostError:
    reason = {
        Schema.NEWER: "has the schema of a newer MLflow: install the newer release again, or"
        " restore the backup made before it",
        Schema.FOREIGN: "holds the tables of another program: name an empty database in"
        " MLFLOW_BACKEND_STORE_URI",
    }
    return HostError(f"the database {redacted(uri)} {reason[state]}")


@contextmanager
def explained(uri: str) -> Iterator[None]:
    """Turns what the database refuses into one sentence."""
    try:
        yield
    except (OSError, SQLAlchemyError) as error:
        cause = error.orig if isinstance(error, DBAPIError) else error
        reason = str(cause).splitlines()[0]
        advice = (
            "make it and its folder writable for this user, or name another file in"
            " MLFLOW_BACKEND_STORE_URI"
            if uri.startswith("sqlite")
            else "check MLFLOW_BACKEND_STORE_URI, and that the database is up"
        )
        raise HostError(
            f"the database {redacted(uri)} cannot be used ({reason}): {advice}"
        ) from None
