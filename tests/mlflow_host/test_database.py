import shutil
import sqlite3
from contextlib import closing
from pathlib import Path

import mlflow
import pytest
from alembic import command
from alembic.config import Config
from mlflow.store.tracking.dbmodels.initial_models import Base as InitialBase
from sqlalchemy import create_engine

from hostkit.errors import HostError
from mlflow_host.database import Schema, migrate, prepare

# MLflow and Alembic warn their own developers.
pytestmark = pytest.mark.filterwarnings("ignore")

SECRET = "s3cret"


@pytest.fixture(scope="session")
def template(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An SQLite file with the schema of this release, for copies."""
    path = tmp_path_factory.mktemp("template") / "mlflow.db"
    prepare(f"sqlite:///{path}")
    return path


@pytest.fixture
def database(template: Path, tmp_path: Path) -> Path:
    return Path(shutil.copy(template, tmp_path))


def execute(path: Path, statement: str) -> list[tuple[object, ...]]:
    with closing(sqlite3.connect(path)) as connection, connection:
        return connection.execute(statement).fetchall()


def alembic(path: Path, step: str, revision: str) -> None:
    config = Config()
    scripts = Path(mlflow.__file__).parent / "store" / "db_migrations"
    config.set_main_option("script_location", str(scripts))
    config.set_main_option("sqlalchemy.url", f"sqlite:///{path}")
    getattr(command, step)(config, revision)


def head(path: Path) -> str:
    return str(execute(path, "SELECT version_num FROM alembic_version")[0][0])


def test_an_empty_database_gets_the_schema(database: Path) -> None:
    assert ("registered_models",) in execute(database, "SELECT name FROM sqlite_master")


def test_the_schema_of_this_release_is_taken_as_it_is(database: Path) -> None:
    before = database.read_bytes()
    prepare(f"sqlite:///{database}")
    assert migrate(f"sqlite:///{database}") is Schema.CURRENT
    assert database.read_bytes() == before


def test_an_older_schema_is_refused_until_it_is_upgraded(database: Path) -> None:
    newest = head(database)
    alembic(database, "downgrade", "-1")
    older = head(database)
    with pytest.raises(HostError, match=r"older MLflow: make a backup .*mlflow_host\.pex migrate"):
        prepare(f"sqlite:///{database}")
    assert head(database) == older
    assert migrate(f"sqlite:///{database}") is Schema.OLDER
    assert head(database) == newest
    prepare(f"sqlite:///{database}")


def test_a_first_start_that_was_killed_is_made_good_by_migrate(tmp_path: Path) -> None:
    path = tmp_path / "mlflow.db"
    InitialBase.metadata.create_all(create_engine(f"sqlite:///{path}"))
    with pytest.raises(HostError, match="older MLflow"):
        prepare(f"sqlite:///{path}")
    migrate(f"sqlite:///{path}")
    prepare(f"sqlite:///{path}")


def test_a_newer_schema_is_refused(database: Path) -> None:
    execute(database, "UPDATE alembic_version SET version_num = 'ffffffffffff'")
    for refuse in (prepare, migrate):
        with pytest.raises(HostError, match=r"newer MLflow: install the newer release again"):
            refuse(f"sqlite:///{database}")


def test_the_database_of_another_program_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "shop.db"
    execute(path, "CREATE TABLE orders (id INTEGER)")
    for refuse in (prepare, migrate):
        with pytest.raises(HostError, match=r"another program: name an empty database"):
            refuse(f"sqlite:///{path}")
    assert execute(path, "SELECT name FROM sqlite_master") == [("orders",)]


def test_a_database_that_is_away_is_named_without_its_password() -> None:
    with pytest.raises(HostError) as raised:
        prepare(f"postgresql://mlflow:{SECRET}@127.0.0.1:1/mlflow")
    message = str(raised.value)
    assert "postgresql://mlflow:***@127.0.0.1:1/mlflow cannot be used" in message
    assert "Connection refused" in message
    assert SECRET not in message
    assert "\n" not in message


def test_a_folder_where_no_file_can_be_made_is_named() -> None:
    with pytest.raises(HostError, match="unable to open database file"):
        prepare("sqlite:////proc/mlflow.db")


def test_a_file_that_is_no_database_is_named(tmp_path: Path) -> None:
    path = tmp_path / "mlflow.db"
    path.write_text("This is not a database, but a text of some length, such as it may happen.")
    with pytest.raises(HostError, match=r"mlflow\.db cannot be used \(file is not a database\)"):
        prepare(f"sqlite:///{path}")
