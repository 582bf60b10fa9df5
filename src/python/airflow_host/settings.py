"""Settings of the airflow host."""

from typing import ClassVar

from pydantic import Field

from hostkit.settings import Settings


class AirflowSettings(Settings):
    """Settings of the airflow host."""

    host_name: ClassVar[str] = "airflow-host"

    airflow_port: int = Field(1234, description="Port.", examples=["1234"])
