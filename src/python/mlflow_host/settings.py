"""The settings of the MLflow host."""

from pathlib import Path
from typing import Annotated, Any, ClassVar, Literal, Self
from urllib.parse import urlsplit

from pydantic import AfterValidator, Field, PositiveInt, SecretStr, model_validator

from hostkit.files import AbsolutePath
from hostkit.network import HttpUrl, ListenAddress, Port, is_loopback
from hostkit.settings import Settings

MEBIBYTES = 1024 * 1024


def _database_uri(text: str) -> str:
    scheme, separator, rest = text.partition("://")
    if scheme == "postgres":
        raise ValueError("SQLAlchemy calls it 'postgresql://'")
    dialect = scheme.partition("+")[0]
    if not separator or dialect not in ("sqlite", "postgresql"):
        raise ValueError("the database must be sqlite:////PATH or postgresql://...")
    if dialect == "sqlite" and not rest.startswith("//"):
        raise ValueError("the path of the SQLite file must be absolute: four slashes")
    return text


def _artifacts_destination(text: str) -> str:
    if not text.startswith("/") and not urlsplit(text).scheme:
        raise ValueError("a folder must be an absolute path, and an object store a URI")
    return text


def _default_public_url(fields: dict[str, Any]) -> str | None:
    host = fields["mlflow_host"]
    bracketed = f"[{host}]" if ":" in host else host
    return f"http://{bracketed}:{fields['mlflow_port']}" if is_loopback(host) else None


class MlflowSettings(Settings):
    """The settings of the MLflow host."""

    host_name: ClassVar[str] = "mlflow-host"

    mlflow_host: ListenAddress = Field(
        "127.0.0.1",
        description="Address to listen on; 0.0.0.0 lets other machines in",
        examples=["0.0.0.0"],  # noqa: S104
    )
    mlflow_port: Port = Field(5000, description="Port to listen on", examples=[5000])
    mlflow_public_url: HttpUrl | None = Field(
        default_factory=_default_public_url,
        description="URL by which other machines reach this server",
        examples=["http://mlflow:5000"],
    )
    state_directory: AbsolutePath = Field(
        Path("/var/lib/mlflow-host"),
        description="Folder below which the two defaults that follow are; systemd sets it",
        examples=["/var/lib/mlflow-host"],
    )
    mlflow_backend_store_uri: Annotated[str, AfterValidator(_database_uri)] = Field(
        default_factory=lambda fields: f"sqlite:///{fields['state_directory']}/mlflow.db",
        description="Database of runs and registered models",
        examples=["sqlite:////var/lib/mlflow-host/mlflow.db"],
        repr=False,  # It may hold a password.
    )
    mlflow_artifacts_destination: Annotated[str, AfterValidator(_artifacts_destination)] = Field(
        default_factory=lambda fields: f"{fields['state_directory']}/artifacts",
        description="Where the files of runs and models are kept",
        examples=["/var/lib/mlflow-host/artifacts"],
    )
    mlflow_server_allowed_hosts: str | None = Field(
        None,
        description="Host headers to accept, instead of those worked out from the URL",
        examples=["mlflow,mlflow:*,localhost:*"],
    )
    mlflow_server_cors_allowed_origins: str | None = Field(
        None,
        description="Origins of browsers to accept, instead of those worked out from the URL",
        examples=["https://mlflow.example.com"],
    )
    forwarded_allow_ips: str = Field(
        "127.0.0.1",
        description="Proxies whose X-Forwarded-For and X-Forwarded-Proto are believed",
        examples=["127.0.0.1,10.0.0.7"],
    )
    ssl_cert_file: AbsolutePath | None = Field(
        default=None,
        description="CA certificates (PEM) by which https URLs are trusted; empty: public ones.",
        examples=["/etc/ssl/certs/our-ca.pem"],
    )
    tls_certificate_file: AbsolutePath | None = Field(
        default=None,
        description="Certificate and key (PEM, one file) that this host shows to other hosts.",
        examples=["/etc/mlflow-host/tls.pem"],
    )

    mlflow_auth: Literal["yes", "no"] | None = Field(
        None,
        description="Whether callers need an account; by default where other machines reach it",
        examples=["yes"],
    )
    mlflow_auth_admin_username: str = Field(
        "admin",
        min_length=1,
        description="Name of the account that the first start makes, which may do everything",
        examples=["admin"],
    )
    mlflow_auth_admin_password: SecretStr | None = Field(
        None,
        min_length=12,
        description="Its password; install makes one",
    )
    mlflow_flask_server_secret_key: SecretStr | None = Field(
        None,
        description="Key by which MLflow signs its forms; install makes one",
    )

    mlflow_max_body_bytes: PositiveInt = Field(
        64 * MEBIBYTES,
        description="How large a request may be, in bytes; artifacts may have any size",
        examples=[134217728],
    )

    @property
    def is_reachable(self) -> bool:
        """Whether other machines can reach this host, by itself or through a proxy."""
        public = urlsplit(str(self.mlflow_public_url)).hostname or ""
        return not (is_loopback(self.mlflow_host) and is_loopback(public))

    @property
    def asks_for_accounts(self) -> bool:
        """Whether callers are to need an account, if there can be any."""
        return self.is_reachable if self.mlflow_auth is None else self.mlflow_auth == "yes"

    @model_validator(mode="after")
    def _others_need_a_url(self) -> Self:
        if self.mlflow_public_url is None:
            raise ValueError(
                f"MLFLOW_HOST={self.mlflow_host} lets other machines in, but MLFLOW_PUBLIC_URL is"
                " not set: say by which URL they reach this server, for example"
                " MLFLOW_PUBLIC_URL=http://mlflow:5000"
            )
        return self
