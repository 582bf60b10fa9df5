"""What the Airflow host tells of itself to the commands that all hosts have."""

import secrets

from airflow_host.environment import CONNECTION
from airflow_host.links import walks
from airflow_host.secret_keys import KEYS
from airflow_host.settings import AirflowSettings
from hostkit.definition import Contents, Definition
from hostkit.settings import Loaded


def _contents(loaded: Loaded[AirflowSettings]) -> Contents:
    given = loaded.environment().get(CONNECTION)
    home = loaded.settings.airflow_home
    return Contents(
        given or f"sqlite:///{home / 'airflow.db'}",
        {"dags": loaded.settings.airflow_dags_folder, "logs": home / "logs"},
    )


def _password() -> str:
    return secrets.token_urlsafe(24)


DEFINITION = Definition(
    settings=AirflowSettings,
    distributions=(
        "apache-airflow",
        "apache-airflow-providers-fab",
        "mlflow-skinny",
        "scikit-learn",
    ),
    unit="airflow-host.target",
    contents=_contents,
    address=("AIRFLOW__API__HOST", "AIRFLOW__API__PORT"),
    secrets={**KEYS, "AIRFLOW_PASSWORD": _password},
    migrates=True,
    walks=walks,
)
