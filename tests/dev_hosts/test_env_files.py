"""Env files of dev mode: made once, then kept right without touching the user's own lines."""

import stat
from pathlib import Path

import dotenv
import pytest
from hypothesis import given
from hypothesis import strategies as st

from dev_hosts.env_files import airflow_credentials, write_env_files
from dev_hosts.ports import Ports


def test_each_host_finds_the_others_at_their_ports(tmp_path: Path) -> None:
    files = write_env_files(tmp_path, Ports(1, 2, 3, 4))
    api = dotenv.dotenv_values(files["api"])
    airflow = dotenv.dotenv_values(files["airflow"])
    assert api["MLFLOW_TRACKING_URI"] == airflow["MLFLOW_TRACKING_URI"] == "http://127.0.0.1:1"
    assert api["AIRFLOW_BASE_URL"] == airflow["AIRFLOW_PUBLIC_URL"] == "http://127.0.0.1:2"
    assert airflow["API_SERVER_URL"] == "http://127.0.0.1:3"
    assert api["API_GRPC_PORT"] == "4"


def test_other_ports_replace_the_old_ones(tmp_path: Path) -> None:
    write_env_files(tmp_path, Ports(1, 2, 3, 4))
    files = write_env_files(tmp_path, Ports(4, 5, 6, 7))
    assert dotenv.dotenv_values(files["mlflow"])["MLFLOW_PORT"] == "4"
    assert files["mlflow"].read_text().count("MLFLOW_PORT") == 1


def test_only_the_user_can_read_them(tmp_path: Path) -> None:
    for path in write_env_files(tmp_path, Ports()).values():
        assert stat.S_IMODE(path.stat().st_mode) == 0o600


def test_a_changed_airflow_password_stays_and_reaches_the_api(tmp_path: Path) -> None:
    files = write_env_files(tmp_path, Ports())
    dotenv.set_key(files["airflow"], "AIRFLOW_PASSWORD", "another")
    dotenv.set_key(files["airflow"], "AIRFLOW_API_PASSWORD", "correct horse battery")
    write_env_files(tmp_path, Ports())
    assert airflow_credentials(tmp_path) == ("airflow", "another")
    assert dotenv.dotenv_values(files["api"])["AIRFLOW_USERNAME"] == "api"
    assert dotenv.dotenv_values(files["api"])["AIRFLOW_PASSWORD"] == "correct horse battery"


def test_trainings_read_below_a_folder_that_is_there_or_one_of_the_users_own(
    tmp_path: Path,
) -> None:
    path = write_env_files(tmp_path, Ports())["airflow"]
    folder = dotenv.dotenv_values(path)["TRAINING_DATA_FOLDERS"]
    assert folder == str(tmp_path / "airflow" / "tables")
    assert Path(folder).is_dir()
    dotenv.set_key(path, "TRAINING_DATA_FOLDERS", "/srv/tables")
    write_env_files(tmp_path, Ports())
    assert dotenv.dotenv_values(path)["TRAINING_DATA_FOLDERS"] == "/srv/tables"


@given(value=st.text(st.characters(codec="ascii", exclude_categories=["C"]), max_size=30))
def test_a_line_of_the_users_own_stays_as_it_is(
    tmp_path_factory: pytest.TempPathFactory, value: str
) -> None:
    state = tmp_path_factory.mktemp("state")
    path = write_env_files(state, Ports(1, 2, 3, 4))["airflow"]
    dotenv.set_key(path, "TRAINING_TARGET", value)
    before = [line for line in path.read_text().splitlines() if "TRAINING_TARGET" in line]
    write_env_files(state, Ports(4, 5, 6, 7))
    assert [line for line in path.read_text().splitlines() if "TRAINING_TARGET" in line] == before
