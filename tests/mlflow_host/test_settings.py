import pytest

from hostkit.errors import SettingsError
from hostkit.settings import Setting, load
from mlflow_host.settings import MlflowSettings


def settings(**variables: str) -> MlflowSettings:
    return load(MlflowSettings, environment=variables).settings


def test_defaults_need_nothing_else_installed() -> None:
    defaults = settings()
    assert (defaults.mlflow_host, defaults.mlflow_port) == ("127.0.0.1", 5000)
    assert defaults.mlflow_public_url == "http://127.0.0.1:5000"
    assert defaults.mlflow_backend_store_uri == "sqlite:////var/lib/mlflow-host/mlflow.db"
    assert defaults.mlflow_artifacts_destination == "/var/lib/mlflow-host/artifacts"


def test_state_is_where_systemd_says() -> None:
    below = settings(STATE_DIRECTORY="/srv/mlflow")
    assert below.mlflow_backend_store_uri == "sqlite:////srv/mlflow/mlflow.db"
    assert below.mlflow_artifacts_destination == "/srv/mlflow/artifacts"


@pytest.mark.parametrize(
    ("host", "url"), [("::1", "http://[::1]:5000"), ("localhost", "http://localhost:5000")]
)
def test_on_loopback_the_url_is_the_address(host: str, url: str) -> None:
    assert settings(MLFLOW_HOST=host).mlflow_public_url == url


def test_other_machines_need_a_url() -> None:
    with pytest.raises(SettingsError, match=r"^MLFLOW_HOST=0\.0\.0\.0 .*MLFLOW_PUBLIC_URL"):
        settings(MLFLOW_HOST="0.0.0.0")


@pytest.mark.parametrize(
    ("variable", "value", "message"),
    [
        ("MLFLOW_PORT", "http", "a whole number"),
        ("MLFLOW_PUBLIC_URL", "mlflow:5000", "try 'http://mlflow:5000'"),
        ("MLFLOW_BACKEND_STORE_URI", "sqlite:///mlflow.db", "four slashes"),
        ("MLFLOW_BACKEND_STORE_URI", "postgres://db/mlflow", "'postgresql://'"),
        ("MLFLOW_BACKEND_STORE_URI", "/var/lib/mlruns", "sqlite:////PATH"),
        ("MLFLOW_BACKEND_STORE_URI", "mysql://db/mlflow", "postgresql://"),
        ("MLFLOW_ARTIFACTS_DESTINATION", "./artifacts", "absolute path"),
        ("STATE_DIRECTORY", "state", "absolute path"),
    ],
)
def test_a_mistake_is_named(variable: str, value: str, message: str) -> None:
    with pytest.raises(SettingsError) as raised:
        settings(**{variable: value})
    assert str(raised.value).startswith(f"{variable} is {value!r} in environment: ")
    assert message in str(raised.value)
    assert len(str(raised.value).splitlines()) == 1


def test_the_password_of_the_database_is_never_shown() -> None:
    uri = "postgresql://mlflow:s3cret@db/mlflow"
    loaded = load(MlflowSettings, environment={"MLFLOW_BACKEND_STORE_URI": uri})
    assert loaded.settings.mlflow_backend_store_uri == uri
    assert "s3cret" not in repr(loaded)
    shown = {setting.name: setting.value for setting in Setting.all(loaded)}
    assert shown["MLFLOW_BACKEND_STORE_URI"] == "postgresql://mlflow:***@db/mlflow"
