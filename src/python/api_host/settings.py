"""Settings of the api host."""

from typing import ClassVar

from pydantic import Field

from hostkit.settings import Settings


class ApiSettings(Settings):
    """Settings of the api host."""

    host_name: ClassVar[str] = "api-host"

    api_port: int = Field(1234, description="Port.", examples=["1234"])
