import json
from pathlib import Path
from string import ascii_letters, digits, punctuation

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from airflow_host.settings import AirflowSettings
from hostkit.errors import SettingsError
from hostkit.settings import Setting, load

NEEDED = {
    "AIRFLOW_PUBLIC_URL": "http://airflow:8080",
    "MLFLOW_TRACKING_URI": "http://mlflow:5000",
    "API_SERVER_URL": "http://api:8000",
    "AIRFLOW_PASSWORD": "correct horse battery",
}


def settings(**variables: str) -> AirflowSettings:
    return load(AirflowSettings, environment=NEEDED | variables).settings


def problems(**variables: str) -> str:
    with pytest.raises(SettingsError) as error:
        load(AirflowSettings, environment=NEEDED | variables)
    return str(error.value)


def test_what_is_needed_is_enough() -> None:
    read = settings()
    assert read.airflow__api__host == "127.0.0.1"
    assert read.airflow__api__port == 8080
    assert read.airflow_home == Path("/var/lib/airflow-host")
    assert read.airflow_dags_folder == Path("/etc/airflow-host/dags")


@pytest.mark.parametrize(
    ("name", "text", "told"),
    [
        ("TRAINING_DATA_FOLDERS", "/srv/tables,tables", "it must be an absolute path"),
        ("TRAINING_DATA_HOSTS", "localhost,http://x", "'http://x' is no host"),
        ("TRAINING_MAX_MEMORY_BYTES", "1", "it must be 268435456 or more"),
        ("TRAINING_MAX_SECONDS", "inf", "it must be a finite number"),
    ],
)
def test_what_a_training_may_read_is_checked(name: str, text: str, told: str) -> None:
    assert f"{name} is '{text}'" in problems(**{name: text})
    assert told in problems(**{name: text})


@pytest.mark.parametrize("name", NEEDED)
def test_each_of_them_is_needed(name: str) -> None:
    assert f"{name} is not set" in problems(**{name: ""})


def test_all_mistakes_are_told_at_once() -> None:
    told = problems(
        MLFLOW_TRACKING_URI="mlflow:5000",
        AIRFLOW_HOME="state",
        AIRFLOW__API__PORT="80800",
        TRAINING_MARGIN="-1",
    )
    for name in ("MLFLOW_TRACKING_URI", "AIRFLOW_HOME", "AIRFLOW__API__PORT", "TRAINING_MARGIN"):
        assert f"{name} is " in told


def test_systemd_says_where_state_is() -> None:
    assert settings(STATE_DIRECTORY="/srv/airflow").airflow_home == Path("/srv/airflow")


@pytest.mark.parametrize("margin", ["nan", "inf", "-0.1"])
def test_a_margin_is_a_number_that_can_be_beaten(margin: str) -> None:
    assert "TRAINING_MARGIN" in problems(TRAINING_MARGIN=margin)


@pytest.mark.parametrize("host", ["127.0.0.1", "127.8.8.8", "::1", "localhost"])
def test_a_weak_password_is_enough_on_this_machine(host: str) -> None:
    read = settings(AIRFLOW__API__HOST=host, AIRFLOW_PASSWORD="airflow")
    assert read.airflow_password.get_secret_value() == "airflow"


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "10.0.0.4", "airflow"])
@given(password=st.text(ascii_letters + digits + punctuation, min_size=1))
def test_a_short_password_is_refused_where_others_reach_it(host: str, password: str) -> None:
    assume(password.casefold() != "airflow")  # The user name is refused for another reason.
    variables = {"AIRFLOW__API__HOST": host, "AIRFLOW_PASSWORD": password}
    if len(password) >= 12:
        settings(**variables)
    else:
        told = problems(**variables)
        assert "AIRFLOW_PASSWORD is shorter than 12 characters" in told
        assert "or listen on 127.0.0.1" in told


def test_the_user_name_is_no_password_where_others_reach_it() -> None:
    told = problems(
        AIRFLOW__API__HOST="0.0.0.0",
        AIRFLOW_USERNAME="maria.sklodowska",
        AIRFLOW_PASSWORD="Maria.Sklodowska",
    )
    assert "AIRFLOW_PASSWORD is the user name" in told
    assert "Maria.Sklodowska" not in told


def test_the_password_is_never_shown() -> None:
    loaded = load(AirflowSettings, environment=NEEDED)
    shown = json.dumps([setting.value for setting in Setting.all(loaded)])
    assert NEEDED["AIRFLOW_PASSWORD"] not in shown
    assert NEEDED["AIRFLOW_PASSWORD"] not in repr(loaded)


def test_every_setting_says_what_it_is_for() -> None:
    for setting in Setting.all(load(AirflowSettings, environment=NEEDED)):
        assert setting.description, setting.name
