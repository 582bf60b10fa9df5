"""Settings of the API host."""

from pathlib import Path

import pytest

from api_host.app import create_app
from api_host.definition import DEFINITION
from api_host.settings import ApiSettings
from hostkit.errors import HostError, SettingsError
from hostkit.settings import load


def read(**environment: str) -> ApiSettings:
    return load(ApiSettings, environment=environment).settings


def test_defaults_are_for_one_machine() -> None:
    settings = read()
    assert settings.mlflow_tracking_uri == "http://127.0.0.1:5000"
    assert settings.airflow_base_url == "http://127.0.0.1:8080"
    assert (settings.api_host, settings.api_port) == ("127.0.0.1", 8000)
    assert settings.model_names == ()


def test_names_have_commas_between_them() -> None:
    assert read(MODEL_NAMES="iris, churn ,").model_names == ("iris", "churn")


@pytest.mark.parametrize(
    "url", ["http://localhost:8080", "http://127.0.0.1:8080", "http://[::1]:1"]
)
def test_the_password_that_everybody_knows_is_good_on_this_machine(url: str) -> None:
    assert read(AIRFLOW_BASE_URL=url).airflow_base_url == url


@pytest.mark.parametrize(
    "url", ["http://airflow:8080", "https://10.0.0.3", "http://localhost.evil"]
)
def test_the_password_that_everybody_knows_is_refused_elsewhere(url: str) -> None:
    with pytest.raises(SettingsError, match="AIRFLOW_PASSWORD"):
        read(AIRFLOW_BASE_URL=url)
    read(AIRFLOW_BASE_URL=url, AIRFLOW_PASSWORD="a better one")


def test_every_mistake_is_named() -> None:
    with pytest.raises(SettingsError) as error:
        read(API_PORT="high", MLFLOW_TRACKING_URI="mlflow:5000", API_MAX_ROWS="0")
    for name in ("API_PORT", "MLFLOW_TRACKING_URI", "API_MAX_ROWS"):
        assert name in str(error.value)


def test_a_password_is_never_shown() -> None:
    assert "hunter2" not in repr(read(AIRFLOW_PASSWORD="hunter2"))


def test_a_file_of_authorities_that_is_none_is_told_before_anything_starts(tmp_path: Path) -> None:
    letter = tmp_path / "letter"
    letter.write_text("This is no certificate.")
    for file in (letter, tmp_path / "missing"):
        settings = read(SSL_CERT_FILE=str(file))
        with pytest.raises(HostError, match=f"SSL_CERT_FILE is {file}, which cannot be used"):
            create_app(settings)


def test_a_proxy_lets_streams_of_any_length_through() -> None:
    assert DEFINITION.entrance(load(ApiSettings, environment={})).max_body_bytes is None
