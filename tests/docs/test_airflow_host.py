"""docs/ says of the Airflow host what is true."""

from airflow_host.settings import AirflowSettings
from tests.docs.pages import documented_settings


def test_every_setting_is_documented_and_no_other() -> None:
    assert documented_settings("airflow-host") == list(AirflowSettings.variables())
