"""The tables of accounts, beside MLflow's others in the same database, so that one backup has both.

They have a version of their own. A database without them was made by a release that had none.
"""

import warnings

import sqlalchemy as sa

from hostkit.migrations import read_revisions

VERSION_TABLE = "alembic_version_auth"
_MIGRATIONS = "server/auth/db/migrations/versions"


def exist(uri: str) -> bool:
    """Whether there are any. Raises what SQLAlchemy raises."""
    return _revision(uri) is not None


def are_current(uri: str) -> bool:
    """Whether they are as this release needs them."""
    return _revision(uri) == read_revisions("mlflow", _MIGRATIONS).head


def are_newer(uri: str) -> bool:
    """Whether a newer release made them."""
    revision = _revision(uri)
    return revision is not None and revision not in read_revisions("mlflow", _MIGRATIONS).known


def upgrade(uri: str) -> None:
    """Makes them, or brings them up to this release.

    Imports MLflow's application: `setup.configure` must have been called.
    """
    with warnings.catch_warnings(action="ignore"):  # They are for MLflow's own developers.
        from mlflow.server.auth.db.utils import migrate  # noqa: PLC0415

    engine = sa.create_engine(uri, poolclass=sa.NullPool)
    try:
        migrate(engine, "head")
    finally:
        engine.dispose()


def _revision(uri: str) -> str | None:
    engine = sa.create_engine(uri, poolclass=sa.NullPool)
    try:
        with engine.connect() as connection:
            if VERSION_TABLE not in sa.inspect(connection).get_table_names():
                return None
            table = sa.table(VERSION_TABLE, sa.column("version_num", sa.String))
            return connection.scalar(sa.select(table.c.version_num))
    finally:
        engine.dispose()
