"""What the Airflow host tells of itself to the commands that all hosts have."""

from airflow_host.environment import CONNECTION
from airflow_host.links import walks
from airflow_host.rotations import ROTATIONS, password
from airflow_host.secret_keys import KEYS
from airflow_host.settings import MIB, AirflowSettings
from hostkit.definition import Contents, Definition, Entrance
from hostkit.settings import Loaded

SECONDS_BETWEEN_LINES_OF_A_LOG = 600.0
"""A page that follows the log of a task waits for its next line."""


def _contents(loaded: Loaded[AirflowSettings]) -> Contents:
    given = loaded.environment().get(CONNECTION)
    home = loaded.settings.airflow_home
    return Contents(
        given or f"sqlite:///{home / 'airflow.db'}",
        {"dags": loaded.settings.airflow_dags_folder, "logs": home / "logs"},
    )


def _entrance(loaded: Loaded[AirflowSettings]) -> Entrance:
    settings = loaded.settings
    return Entrance(
        url=settings.airflow_public_url,
        url_variable="AIRFLOW_PUBLIC_URL",
        address=settings.airflow__api__host,
        port=settings.airflow__api__port,
        max_body_bytes=16 * MIB,
        timeout_seconds=SECONDS_BETWEEN_LINES_OF_A_LOG,
        callers={"API_SERVER_URL": settings.api_server_url},
    )


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
    entrance=_entrance,
    secrets={**KEYS, "AIRFLOW_PASSWORD": password, "AIRFLOW_API_PASSWORD": password},
    rotations=ROTATIONS,
    migrates=True,
    walks=walks,
)
