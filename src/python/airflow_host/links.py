"""The other servers that this host calls, or whose clients call it."""

from airflow_host.settings import AirflowSettings
from hostkit.link import Link


def links(settings: AirflowSettings) -> tuple[Link, ...]:
    """MLflow, which training records to, and the API server, which asks for training."""
    return (
        Link("mlflow", settings.mlflow_tracking_uri, "/health", "MLFLOW_TRACKING_URI"),
        Link("api", settings.api_server_url, "/livez", "API_SERVER_URL"),
    )
