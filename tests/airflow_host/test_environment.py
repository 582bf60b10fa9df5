import json
import os
import shlex
import subprocess
import sys
from pathlib import Path
from string import ascii_letters

import pytest
from hypothesis import given
from hypothesis import strategies as st

from airflow_host.environment import airflow_environment, of_mlflows_client
from airflow_host.process import take_mlflows_password
from airflow_host.secret_keys import KEYS, SIGNING_KEY
from airflow_host.settings import AirflowSettings
from airflow_host.training.settings import TrainingDefaults
from hostkit.settings import load

GIVEN = {
    "AIRFLOW_PUBLIC_URL": "https://airflow.example/team",
    "MLFLOW_TRACKING_URI": "http://mlflow:5000",
    "API_SERVER_URL": "http://api:8000",
    "AIRFLOW_USERNAME": "somebody",
    "AIRFLOW_PASSWORD": "correct horse battery",
    "AIRFLOW_HOME": "/srv/airflow",
    "AIRFLOW_DAGS_FOLDER": "/srv/dags",
}
KEY_FILES = {name: Path("/srv/airflow/my secrets") / name for name in KEYS}


def environment(variables: dict[str, str] | None = None, **more: str) -> dict[str, str]:
    loaded = load(AirflowSettings, environment=GIVEN | (variables or {}) | more)
    return airflow_environment(loaded.settings, loaded.environment(), KEY_FILES, json_logs=True)


def test_all_processes_agree_without_being_told() -> None:
    made = environment()
    assert made["AIRFLOW_HOME"] == "/srv/airflow"
    assert made["AIRFLOW__API__BASE_URL"] == "https://airflow.example/team"
    assert made["AIRFLOW__CORE__EXECUTION_API_SERVER_URL"] == "http://127.0.0.1:8080/execution/"
    assert made["AIRFLOW__DATABASE__SQL_ALCHEMY_CONN"] == "sqlite:////srv/airflow/airflow.db"


def test_state_is_below_airflow_home() -> None:
    for name, text in environment().items():
        if name.endswith(("_FOLDER", "_STORAGE_PATH")) and "PLUGINS" not in name:
            assert text.startswith(("/srv/airflow/", "/srv/dags")), name


def test_tasks_see_the_other_hosts_and_what_to_train() -> None:
    made = environment(TRAINING_DATA_URI="s3://bucket/table.parquet", TRAINING_MARGIN="0.5")
    assert made["MLFLOW_TRACKING_URI"] == "http://mlflow:5000"
    assert made["API_SERVER_URL"] == "http://api:8000"
    assert made["TRAINING_DATA_URI"] == "s3://bucket/table.parquet"
    assert made["TRAINING_TARGET"] == "species"
    assert made["TRAINING_MODEL_NAME"] == "iris"
    assert made["TRAINING_MARGIN"] == "0.5"
    assert "TRAINING_DATA_URI" not in environment()


def test_mlflows_client_shows_and_trusts_what_the_settings_say() -> None:
    files = {"TLS_CERTIFICATE_FILE": "/etc/airflow-host/tls.pem", "SSL_CERT_FILE": "/etc/ca.pem"}
    made = environment(files)
    assert made["MLFLOW_TRACKING_CLIENT_CERT_PATH"] == "/etc/airflow-host/tls.pem"
    assert made["MLFLOW_TRACKING_SERVER_CERT_PATH"] == "/etc/ca.pem"
    assert "MLFLOW_TRACKING_CLIENT_CERT_PATH" not in environment()
    given = environment(files, REQUESTS_CA_BUNDLE="/other.pem")
    assert "MLFLOW_TRACKING_SERVER_CERT_PATH" not in given


def test_cookies_go_by_tls_only_where_the_public_url_does() -> None:
    name = "AIRFLOW__FAB__COOKIE_SECURE"
    assert environment()[name] == "True"
    assert environment(AIRFLOW_PUBLIC_URL="http://airflow:8080")[name] == "False"


def test_tasks_see_what_a_training_may_read() -> None:
    made = environment(
        TRAINING_DATA_FOLDERS="/srv/tables, /mnt/exports", TRAINING_DATA_HOSTS="127.0.0.1:9000"
    )
    assert made["TRAINING_DATA_FOLDERS"] == "/srv/tables,/mnt/exports"
    assert made["TRAINING_DATA_HOSTS"] == "127.0.0.1:9000"
    assert made["TRAINING_MAX_ROWS"] == "5000000"
    assert TrainingDefaults.variables().keys() - made.keys() == {"TRAINING_DATA_URI"}
    assert load(TrainingDefaults, environment=made).settings.training_data_folders == (
        Path("/srv/tables"),
        Path("/mnt/exports"),
    )


def test_tasks_do_not_see_the_password_of_an_admin() -> None:
    made = environment()
    assert GIVEN["AIRFLOW_PASSWORD"] not in made.values()
    assert "AIRFLOW_USERNAME" not in made


def test_the_dags_are_the_shipped_ones_and_the_users_own() -> None:
    bundles = json.loads(environment()["AIRFLOW__DAG_PROCESSOR__DAG_BUNDLE_CONFIG_LIST"])
    folders = {bundle["name"]: Path(bundle["kwargs"]["path"]) for bundle in bundles}
    assert folders["own"] == Path("/srv/dags")
    assert folders["tripod"].parts[-2:] == ("airflow_host", "dags")


def test_the_plugins_are_where_airflow_is_told_to_look() -> None:
    folder = Path(environment()["AIRFLOW__CORE__PLUGINS_FOLDER"])
    assert (folder / "compatibility.py").is_file()


@pytest.mark.parametrize(("json_logs", "text"), [(True, "True"), (False, "False")])
def test_logs_are_json_unless_a_person_watches(json_logs: bool, text: str) -> None:
    loaded = load(AirflowSettings, environment=GIVEN)
    made = airflow_environment(loaded.settings, {}, {}, json_logs=json_logs)
    assert made["AIRFLOW__LOGGING__JSON_LOGS"] == text


def test_tasks_see_where_the_keys_are_and_not_the_keys() -> None:
    made = environment()
    assert made["MODEL_SIGNING_KEY_FILE"] == str(KEY_FILES[SIGNING_KEY])
    assert f"{SIGNING_KEY}_CMD" not in made
    for name, file in KEY_FILES.items():
        assert name not in made
        if name != SIGNING_KEY:
            assert shlex.split(made[f"{name}_CMD"]) == ["cat", str(file)]


OPTIONS = sorted(
    {name.removesuffix("_CMD") for name in environment() if name.startswith("AIRFLOW__")}
    - set(AirflowSettings.variables())
)


@given(name=st.sampled_from(OPTIONS), text=st.text(ascii_letters, min_size=1))
def test_what_the_operator_says_of_airflow_wins(name: str, text: str) -> None:
    made = environment({name: text})
    assert made[name] == text
    assert f"{name}_CMD" not in made


@given(name=st.sampled_from(OPTIONS), suffix=st.sampled_from(["_CMD", "_SECRET"]))
def test_a_command_or_a_secrets_backend_is_not_covered_by_a_default(name: str, suffix: str) -> None:
    made = environment({name + suffix: "something"})
    assert name not in made
    assert made[name + suffix] == "something"


def test_other_options_of_airflow_pass_through() -> None:
    assert environment(AIRFLOW__SMTP__SMTP_HOST="mail")["AIRFLOW__SMTP__SMTP_HOST"] == "mail"


@pytest.mark.parametrize(
    ("host", "url"),
    [
        ("0.0.0.0", "http://127.0.0.1:8080"),
        ("::", "http://[::1]:8080"),
        ("10.0.0.4", "http://10.0.0.4:8080"),
        ("fd00::4", "http://[fd00::4]:8080"),
        ("airflow", "http://airflow:8080"),
    ],
)
def test_tasks_reach_the_api_server_where_it_listens(host: str, url: str) -> None:
    made = environment(AIRFLOW__API__HOST=host)
    assert made["AIRFLOW__CORE__EXECUTION_API_SERVER_URL"] == f"{url}/execution/"


@pytest.mark.parametrize("scheme", ["postgresql", "postgresql+psycopg"])
def test_postgresql_needs_no_driver_but_psycopg(scheme: str) -> None:
    made = environment(AIRFLOW__DATABASE__SQL_ALCHEMY_CONN=f"{scheme}://user:word@db/airflow")
    asynchronous = made["AIRFLOW__DATABASE__SQL_ALCHEMY_CONN_ASYNC"]
    assert asynchronous == "postgresql+psycopg://user:word@db/airflow"


def test_sqlite_is_left_to_airflow() -> None:
    assert "AIRFLOW__DATABASE__SQL_ALCHEMY_CONN_ASYNC" not in environment()


def as_service(folder: Path, **credentials: str) -> dict[str, str]:
    """The environment of Airflow where systemd hands over credentials."""
    for name, text in credentials.items():
        (folder / name).write_text(text)
    given = GIVEN | {"CREDENTIALS_DIRECTORY": str(folder), "NOTIFY_SOCKET": "/run/systemd/notify"}
    loaded = load(AirflowSettings, environment=given)
    return airflow_environment(
        loaded.settings,
        loaded.environment(),
        {},
        credentials=loaded.credentials(),
        json_logs=True,
    )


def printed(command: str) -> str:
    return subprocess.run(shlex.split(command), capture_output=True, text=True, check=True).stdout


def test_a_credential_is_read_from_its_file_and_in_no_environment(tmp_path: Path) -> None:
    secret = "postgresql://airflow:it's secret@db/airflow"
    folder = tmp_path / "my credentials"
    folder.mkdir()
    made = as_service(folder, AIRFLOW__DATABASE__SQL_ALCHEMY_CONN=f"{secret}\n")
    assert not any("secret" in text for text in made.values())
    assert printed(made["AIRFLOW__DATABASE__SQL_ALCHEMY_CONN_CMD"]) == secret
    asynchronous = printed(made["AIRFLOW__DATABASE__SQL_ALCHEMY_CONN_ASYNC_CMD"])
    assert asynchronous == "postgresql+psycopg://airflow:it's secret@db/airflow"


def test_tasks_get_the_keys_of_an_object_store(tmp_path: Path) -> None:
    assert as_service(tmp_path, AWS_ACCESS_KEY_ID="the key\n")["AWS_ACCESS_KEY_ID"] == "the key"


def test_a_task_finds_the_signing_key_by_file(tmp_path: Path) -> None:
    made = as_service(tmp_path, MODEL_SIGNING_KEY="the key")
    assert made["MODEL_SIGNING_KEY_FILE"] == str(tmp_path / "MODEL_SIGNING_KEY")
    assert "the key" not in made.values()


def test_mlflows_password_is_not_in_what_a_process_is_started_with(tmp_path: Path) -> None:
    made = as_service(tmp_path, MLFLOW_TRACKING_PASSWORD="a password\n")
    assert made["MLFLOW_TRACKING_USERNAME"] == "airflow"
    assert not any("a password" in text for text in made.values())
    assert "MLFLOW_TRACKING_USERNAME" not in environment()


def test_a_process_takes_mlflows_password_from_its_file(tmp_path: Path) -> None:
    made = as_service(tmp_path, MLFLOW_TRACKING_PASSWORD="a password\n")
    take = take_mlflows_password
    code = (
        f"import os; from {take.__module__} import {take.__name__} as take; take();"
        " print(os.environ['MLFLOW_TRACKING_PASSWORD'])"
    )
    path = os.pathsep.join(map(os.path.abspath, sys.path))
    done = subprocess.run(
        [sys.executable, "-c", code],
        env={**made, "PYTHONPATH": path, "AIRFLOW_HOME": str(tmp_path)},
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout.splitlines()[-1] == "a password"


def test_a_task_cannot_speak_to_systemd_by_accident(tmp_path: Path) -> None:
    assert "NOTIFY_SOCKET" not in as_service(tmp_path)


def test_a_command_calls_mlflow_as_tasks_do() -> None:
    given = GIVEN | {
        "MLFLOW_TRACKING_PASSWORD": "a password",
        "SSL_CERT_FILE": "/etc/ssl/certs/our-ca.pem",
        "TLS_CERTIFICATE_FILE": "/etc/airflow-host/tls.pem",
    }
    loaded = load(AirflowSettings, environment=given)
    assert of_mlflows_client(loaded.settings, {}) == {
        "MLFLOW_TRACKING_USERNAME": "airflow",
        "MLFLOW_TRACKING_PASSWORD": "a password",
        "MLFLOW_TRACKING_SERVER_CERT_PATH": "/etc/ssl/certs/our-ca.pem",
        "MLFLOW_TRACKING_CLIENT_CERT_PATH": "/etc/airflow-host/tls.pem",
    }
    assert of_mlflows_client(load(AirflowSettings, environment=GIVEN).settings, {}) == {}
