"""Settings of the mlflow host."""

from typing import ClassVar

from pydantic import Field

from hostkit.settings import Settings


class MlflowSettings(Settings):
    """Settings of the mlflow host."""

    host_name: ClassVar[str] = "mlflow-host"

    mlflow_port: int = Field(1234, description="Port.", examples=["1234"])
