"""When accounts are asked for, in new installations and in those of a release without them."""

import stat
from configparser import ConfigParser
from importlib import import_module
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa

from hostkit.errors import HostError
from hostkit.settings import load
from mlflow_host import database
from mlflow_host.accounts import schema, setup
from mlflow_host.accounts.operations import User, Users, accounts_in, keep_password
from mlflow_host.accounts.secret import ADMIN_PASSWORD, SECRET_KEY
from mlflow_host.accounts.setup import Protection
from mlflow_host.settings import MlflowSettings

# MLflow and Alembic warn their own developers.
pytestmark = pytest.mark.filterwarnings("ignore")

PASSWORD = "twelve characters and more"
ELSEWHERE = {"MLFLOW_PUBLIC_URL": "http://mlflow:5000"}


@pytest.fixture(autouse=True)
def _environment(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("MLFLOW_AUTH_CONFIG_PATH", "MLFLOW_BASIC_AUTH_FAIL_CLOSED"):
        monkeypatch.setenv(name, "")
    for name in (SECRET_KEY, ADMIN_PASSWORD):
        monkeypatch.setenv(name, "")


def settings(folder: Path, **variables: str) -> MlflowSettings:
    return load(MlflowSettings, environment={"STATE_DIRECTORY": str(folder), **variables}).settings


@pytest.mark.parametrize(
    ("variables", "asks"),
    [
        ({}, False),
        ({"MLFLOW_AUTH": "yes"}, True),
        (ELSEWHERE, True),
        ({"MLFLOW_HOST": "0.0.0.0", **ELSEWHERE}, True),
        ({"MLFLOW_HOST": "0.0.0.0", "MLFLOW_PUBLIC_URL": "http://localhost"}, True),
        ({"MLFLOW_AUTH": "no", **ELSEWHERE}, False),
    ],
)
def test_callers_need_an_account_where_others_reach_the_host(
    variables: dict[str, str], asks: bool, tmp_path: Path
) -> None:
    assert settings(tmp_path, **variables).asks_for_accounts is asks


def test_a_new_host_is_locked_from_its_first_start(tmp_path: Path) -> None:
    here = settings(tmp_path, **ELSEWHERE)
    database.prepare(here.mlflow_backend_store_uri)
    assert setup.prepare(here, is_new=True) is Protection.ON


def test_a_host_that_is_opened_to_others_later_is_locked_then(tmp_path: Path) -> None:
    here = settings(tmp_path)
    database.prepare(here.mlflow_backend_store_uri)
    assert setup.prepare(here, is_new=True) is Protection.OFF
    assert setup.prepare(settings(tmp_path, **ELSEWHERE), is_new=False) is Protection.ON


def test_an_upgraded_host_stays_open_until_its_first_account_is_made(tmp_path: Path) -> None:
    here = settings(tmp_path, **ELSEWHERE)
    uri = here.mlflow_backend_store_uri
    database.prepare(uri)
    with sa.create_engine(uri, poolclass=sa.NullPool).begin() as connection:
        connection.execute(
            sa.text("INSERT INTO registered_models (name, workspace) VALUES ('iris', 'default')")
        )
    assert setup.migrate(here, is_new=False) is False
    assert setup.prepare(here, is_new=False) is Protection.LATER
    assert accounts_in(uri) == ()
    assert Users(here).add("airflow", "airflow", PASSWORD) == ("iris",)
    assert accounts_in(uri) == (User("airflow", ("airflow",)),)
    assert setup.prepare(here, is_new=False) is Protection.ON
    assert setup.protection(settings(tmp_path, MLFLOW_AUTH="no", **ELSEWHERE)) is Protection.OFF


def test_the_tables_of_a_newer_release_are_refused(tmp_path: Path) -> None:
    here = settings(tmp_path)
    uri = here.mlflow_backend_store_uri
    database.prepare(uri)
    setup.prepare(here, is_new=True)
    assert schema.are_current(uri)
    with sa.create_engine(uri, poolclass=sa.NullPool).begin() as connection:
        connection.execute(sa.text(f"UPDATE {schema.VERSION_TABLE} SET version_num = 'later'"))
    with pytest.raises(HostError, match="newer MLflow"):
        setup.prepare(here, is_new=False)
    with pytest.raises(HostError, match="newer MLflow"):
        setup.migrate(here, is_new=False)


def test_mlflows_file_is_for_the_host_alone_and_holds_no_password_of_an_account(
    tmp_path: Path,
) -> None:
    uri = "postgresql://mlflow:100%25@db/mlflow"
    here = settings(tmp_path, MLFLOW_BACKEND_STORE_URI=uri, MLFLOW_AUTH_ADMIN_PASSWORD=PASSWORD)
    setup.configure(here)
    file = tmp_path / setup.CONFIGURATION
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    assert PASSWORD not in file.read_text()
    read = ConfigParser()
    read.read(file)
    assert read["mlflow"]["database_uri"] == uri
    assert read["mlflow"]["default_permission"] == "NO_PERMISSIONS"


@pytest.mark.parametrize(
    ("name", "password", "reason"),
    [
        ("a:b", PASSWORD, "no name for an account"),
        ("", PASSWORD, "no name for an account"),
        ("ann", "short", "12 characters"),
        ("zoe", PASSWORD, "already"),
    ],
)
def test_what_cannot_be_an_account(name: str, password: str, reason: str, tmp_path: Path) -> None:
    here = settings(tmp_path)
    database.prepare(here.mlflow_backend_store_uri)
    users = Users(here)
    users.add("zoe", "admin", PASSWORD)
    with pytest.raises(HostError, match=reason):
        users.add(name, "reader", password)
    with pytest.raises(HostError, match="no account bob"):
        users.set_password("bob", PASSWORD)
    with pytest.raises(HostError, match="only admin"):
        users.remove("zoe")


def test_the_admins_password_is_what_its_credential_says(tmp_path: Path) -> None:
    here = settings(tmp_path, MLFLOW_AUTH_ADMIN_PASSWORD=PASSWORD)
    database.prepare(here.mlflow_backend_store_uri)
    users = Users(here)
    users.add("admin", "admin", "the password before")
    with pytest.raises(HostError, match="mlflow-host rotate"):
        users.set_password("admin", PASSWORD)
    # Only now: as it is imported, it warns its own developers.
    store: Any = import_module("mlflow.server.auth.sqlalchemy_store").SqlAlchemyStore()
    store.init_db(here.mlflow_backend_store_uri)
    keep_password(store, "admin", PASSWORD)
    assert store.authenticate_user("admin", PASSWORD)
    assert not store.authenticate_user("admin", "the password before")
