"""docs/ says of the MLflow host what is true."""

from hostkit.settings import load
from mlflow_host.links import walks
from mlflow_host.settings import MlflowSettings
from tests.docs.pages import documented_settings, documented_walks


def test_every_setting_is_documented_and_no_other() -> None:
    assert documented_settings("mlflow-host") == list(MlflowSettings.variables())


def test_every_step_of_the_doctor_is_documented_and_no_other() -> None:
    found = walks(load(MlflowSettings, environment={}))
    steps = {walk.name: [step.name for step in walk.steps] for walk in found}
    assert documented_walks("mlflow-host") == steps
