"""docs/ says of the Airflow host what is true."""

from airflow_host.links import walks
from airflow_host.settings import AirflowSettings
from hostkit.settings import load
from tests.docs.pages import documented_settings, documented_walks

SETTINGS = {
    "AIRFLOW_PUBLIC_URL": "http://airflow:8080",
    "AIRFLOW_PASSWORD": "airflow",
    "API_SERVER_URL": "http://api:8000",
    "MLFLOW_TRACKING_URI": "http://mlflow:5000",
}


def test_every_setting_is_documented_and_no_other() -> None:
    assert documented_settings("airflow-host") == list(AirflowSettings.variables())


def test_every_step_of_the_doctor_is_documented_and_no_other() -> None:
    found = walks(load(AirflowSettings, environment=SETTINGS))
    steps = {walk.name: [step.name for step in walk.steps] for walk in found}
    assert documented_walks("airflow-host") == steps
