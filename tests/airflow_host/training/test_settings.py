import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from airflow_host.training.settings import read_settings
from hostkit.errors import SettingsError


@pytest.fixture(autouse=True)
def environment(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Those that must be set, in an environment that is put back."""
    for name in [name for name in os.environ if name.startswith(("TRAINING_", "MLFLOW_", "MPL"))]:
        monkeypatch.delenv(name)
    with monkeypatch.context() as context:
        saved = dict(os.environ)
        context.setenv("AIRFLOW_HOME", "/state")
        context.setenv("MLFLOW_TRACKING_URI", "http://mlflow:5000")
        context.setenv("MODEL_SIGNING_KEY_FILE", "/run/key")
        read_settings.cache_clear()
        yield
        read_settings.cache_clear()
        for name in set(os.environ) - set(saved):
            del os.environ[name]


def test_what_is_not_set_has_a_default() -> None:
    settings = read_settings()

    assert settings.training_data_uri is None
    assert (settings.training_target, settings.training_model_name) == ("species", "iris")
    assert settings.training_margin == 0
    assert settings.folder == Path("/state/training")


def test_they_are_read_once(monkeypatch: pytest.MonkeyPatch) -> None:
    before = read_settings()
    monkeypatch.setenv("TRAINING_TARGET", "rent")

    assert read_settings() is before


def test_libraries_are_told_to_keep_quiet_unless_the_operator_said_otherwise(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "9")

    read_settings()

    assert os.environ["MLFLOW_HTTP_REQUEST_MAX_RETRIES"] == "9"
    assert os.environ["MLFLOW_DISABLE_TELEMETRY"] == "true"
    assert os.environ["MPLCONFIGDIR"] == "/state/training/matplotlib"


@pytest.mark.parametrize(
    ("hosts", "disabled"), [("", "true"), ("127.0.0.1", "true"), ("169.254.169.254", "false")]
)
def test_a_cloud_is_asked_for_keys_only_where_an_operator_says_so(
    monkeypatch: pytest.MonkeyPatch, hosts: str, disabled: str
) -> None:
    monkeypatch.setenv("TRAINING_DATA_HOSTS", hosts)
    monkeypatch.delenv("AWS_EC2_METADATA_DISABLED", raising=False)

    read_settings()

    assert os.environ["AWS_EC2_METADATA_DISABLED"] == disabled


def test_mistakes_are_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TRAINING_MARGIN", "-1")
    monkeypatch.setenv("TRAINING_MAX_BYTES", "much")

    with pytest.raises(SettingsError, match=r"(?s)TRAINING_MARGIN.*TRAINING_MAX_BYTES"):
        read_settings()
