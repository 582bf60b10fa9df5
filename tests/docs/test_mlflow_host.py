"""docs/ says of the MLflow host what is true."""

from mlflow_host.settings import MlflowSettings
from tests.docs.pages import documented_settings


def test_every_setting_is_documented_and_no_other() -> None:
    assert documented_settings("mlflow-host") == list(MlflowSettings.variables())
