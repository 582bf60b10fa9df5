import fcntl
import os
from pathlib import Path

import pytest
import sqlalchemy as sa

from airflow_host import migrate as migration
from airflow_host.environment import airflow_environment
from airflow_host.migrate import DatabaseError, migrate, wait_for_database
from airflow_host.schema import SCHEMAS, revisions
from airflow_host.settings import AirflowSettings
from hostkit.settings import Loaded, load

HEADS = tuple(revisions(schema).head for schema in SCHEMAS)
OLD = min(revisions(SCHEMAS[0]).known - {HEADS[0]})


@pytest.fixture
def loaded(tmp_path: Path) -> Loaded[AirflowSettings]:
    return load(
        AirflowSettings,
        environment={
            "AIRFLOW_PUBLIC_URL": "http://airflow:8080",
            "MLFLOW_TRACKING_URI": "http://mlflow:5000",
            "API_SERVER_URL": "http://api:8000",
            "AIRFLOW_PASSWORD": "airflow",
            "AIRFLOW_HOME": str(tmp_path),
            "PATH": os.environ["PATH"],
        },
    )


def environment(loaded: Loaded[AirflowSettings], **variables: str) -> dict[str, str]:
    return airflow_environment(
        loaded.settings, loaded.environment() | variables, {}, json_logs=True
    )


def make_database(folder: Path, *versions: str) -> None:
    engine = sa.create_engine(f"sqlite:///{folder}/airflow.db", poolclass=sa.NullPool)
    with engine.begin() as connection:
        for schema, version in zip(SCHEMAS, versions, strict=True):
            table = schema.version_table
            connection.execute(sa.text(f"CREATE TABLE {table} (version_num VARCHAR(32))"))
            connection.execute(sa.text(f"INSERT INTO {table} VALUES ('{version}')"))


def test_an_older_database_is_refused_with_the_command(
    tmp_path: Path, loaded: Loaded[AirflowSettings]
) -> None:
    make_database(tmp_path, OLD, HEADS[1])
    for start in (wait_for_database, lambda made: migrate(loaded.settings, made, upgrade=False)):
        with pytest.raises(DatabaseError, match=r"older than this release.*airflow_host.pex migr"):
            start(environment(loaded))


def test_a_newer_database_is_refused_even_by_migrate(
    tmp_path: Path, loaded: Loaded[AirflowSettings]
) -> None:
    make_database(tmp_path, "fffffffffff0", HEADS[1])
    with pytest.raises(DatabaseError, match="newer than this one"):
        wait_for_database(environment(loaded))
    with pytest.raises(DatabaseError, match="newer than this one"):
        migrate(loaded.settings, environment(loaded), upgrade=True)


def test_a_current_database_is_not_waited_for(
    tmp_path: Path, loaded: Loaded[AirflowSettings]
) -> None:
    make_database(tmp_path, *HEADS)
    wait_for_database(environment(loaded))


def test_nobody_waits_for_ever(
    loaded: Loaded[AirflowSettings], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(migration, "SECONDS_TO_WAIT_FOR_A_DATABASE", 0.0)
    with pytest.raises(DatabaseError, match="start the api-server, which makes it"):
        wait_for_database(environment(loaded))


def test_a_database_that_cannot_be_reached_is_named_without_its_password(
    loaded: Loaded[AirflowSettings],
) -> None:
    address = "postgresql://airflow:geheim@127.0.0.1:1/airflow"
    made = environment(loaded, AIRFLOW__DATABASE__SQL_ALCHEMY_CONN=address)
    with pytest.raises(DatabaseError, match=r"airflow:\*\*\*@127.0.0.1:1.*SQL_ALCHEMY") as error:
        wait_for_database(made)
    assert "geheim" not in str(error.value)


@pytest.mark.parametrize("address", ["nonsense", "oracle://db/airflow", "postgresql://[/airflow"])
def test_what_is_no_database_is_said_to_be_none(
    loaded: Loaded[AirflowSettings], address: str
) -> None:
    made = environment(loaded, AIRFLOW__DATABASE__SQL_ALCHEMY_CONN=address)
    with pytest.raises(DatabaseError, match="AIRFLOW__DATABASE__SQL_ALCHEMY_CONN"):
        wait_for_database(made)


def test_the_lock_is_free_again_after_an_error(
    tmp_path: Path, loaded: Loaded[AirflowSettings]
) -> None:
    make_database(tmp_path, OLD, HEADS[1])
    with pytest.raises(DatabaseError):
        migrate(loaded.settings, environment(loaded), upgrade=False)
    with (tmp_path / "migrate.lock").open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
