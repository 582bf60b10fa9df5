"""`/metrics` of the api-server, for Prometheus."""

from airflow.plugins_manager import AirflowPlugin

from airflow_host.metrics import Metrics


class MetricsPlugin(AirflowPlugin):
    """Found by Airflow, which looks into its plugins folder."""

    name = "tripod_metrics"
    # Airflow declares it on the instance and reads it from the class.
    fastapi_root_middlewares = [{"name": "metrics", "middleware": Metrics}]  # noqa: RUF012
