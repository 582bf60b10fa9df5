"""The env file of the airflow host as one typed, frozen object."""

from pathlib import Path
from typing import ClassVar, Self

from pydantic import Field, PositiveInt, SecretStr, model_validator

from airflow_host.training.settings import TrainingDefaults
from hostkit.files import AbsolutePath
from hostkit.network import HttpUrl, ListenAddress, Port, is_loopback
from hostkit.settings import Settings

CHARACTERS_OF_A_STRONG_PASSWORD = 12
MIB = 1024 * 1024


class _Surroundings(Settings):
    """Where the host is, what is around it, and where it keeps things."""

    host_name: ClassVar[str] = "airflow-host"

    airflow_public_url: HttpUrl = Field(
        description="The URL at which browsers and the API server reach this host.",
        examples=["http://airflow:8080"],
    )
    mlflow_tracking_uri: HttpUrl = Field(
        description="The URL of the MLflow server: where training runs and models are recorded.",
        examples=["http://mlflow:5000"],
    )
    mlflow_tracking_username: str = Field(
        "airflow",
        min_length=1,
        description="The account in MLflow that records; used where its password is set.",
        examples=["airflow"],
    )
    mlflow_tracking_password: SecretStr | None = Field(
        None,
        description="The password of that account, if MLflow wants one; DAGs see it.",
    )
    api_server_url: HttpUrl = Field(
        description="The URL of the API server, which serves what is trained here.",
        examples=["http://api:8000"],
    )
    airflow__api__host: ListenAddress = Field(
        "127.0.0.1",
        description="The address that the api-server listens on: 0.0.0.0 for all.",
        examples=["127.0.0.1"],
    )
    airflow__api__port: Port = Field(
        8080, description="The port that the api-server listens on.", examples=["8080"]
    )
    forwarded_allow_ips: str = Field(
        "127.0.0.1",
        description="Proxies whose X-Forwarded-For and X-Forwarded-Proto are believed.",
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
        examples=["/etc/airflow-host/tls.pem"],
    )
    state_directory: AbsolutePath = Field(
        Path("/var/lib/airflow-host"),
        description="The folder that AIRFLOW_HOME is by default; systemd sets it.",
        examples=["/var/lib/airflow-host"],
    )
    airflow_home: AbsolutePath = Field(
        default_factory=lambda fields: fields["state_directory"],
        description="The folder of Airflow's state: SQLite database, task logs, generated secrets.",
        examples=["/var/lib/airflow-host"],
    )
    airflow_dags_folder: AbsolutePath = Field(
        Path("/etc/airflow-host/dags"),
        description="The folder of your own DAGs; a new file appears in Airflow within 30 s.",
        examples=["/etc/airflow-host/dags"],
    )
    airflow_max_body_bytes: PositiveInt = Field(
        MIB,
        description="How large a request to the api-server may be, in bytes; tasks send any size.",
        examples=["16777216"],
    )
    airflow_logs_kept_days: PositiveInt = Field(
        30, description="For how many days the logs of tasks are kept.", examples=["30"]
    )


class ComponentSettings(TrainingDefaults, _Surroundings):
    """What each process of Airflow needs to know.

    That is not all: the code in a DAG has no use for the password of an Admin.
    """


class AirflowSettings(ComponentSettings):
    """What the airflow host needs to know; any other `AIRFLOW__SECTION__KEY` goes to Airflow."""

    airflow_username: str = Field(
        "airflow",
        min_length=1,
        max_length=256,
        description="The first user: made at start, with the role Admin.",
        examples=["airflow"],
    )
    airflow_password: SecretStr = Field(
        min_length=1,
        description="The password of that user; a new one takes effect when the api-server starts.",
        examples=["(12 characters or more, from a password generator)"],
    )
    airflow_api_username: str = Field(
        "api",
        min_length=1,
        max_length=256,
        description="The user whom the API server logs in as: made at start; it may start and read"
        " trainings, nothing else.",
        examples=["api"],
    )
    airflow_api_password: SecretStr | None = Field(
        None,
        min_length=1,
        description="The password of that user; without one there is no such user. The API server"
        " has it as AIRFLOW_PASSWORD.",
        examples=["(12 characters or more, from a password generator)"],
    )

    @model_validator(mode="after")
    def _weak_password_only_at_home(self) -> Self:
        if is_loopback(self.airflow__api__host):
            return self
        _refuse_weak("AIRFLOW_PASSWORD", self.airflow_password, self.airflow_username, self)
        if self.airflow_api_password is not None:
            _refuse_weak(
                "AIRFLOW_API_PASSWORD", self.airflow_api_password, self.airflow_api_username, self
            )
        return self

    @model_validator(mode="after")
    def _two_users(self) -> Self:
        if self.airflow_api_password is not None and (
            self.airflow_api_username == self.airflow_username
        ):
            raise ValueError(
                f"AIRFLOW_API_USERNAME is {self.airflow_api_username!r}, as AIRFLOW_USERNAME is:"
                " the API server has an account of its own, so give it another name"
            )
        return self


def _refuse_weak(
    variable: str, password: SecretStr, username: str, settings: ComponentSettings
) -> None:
    if weakness := _weakness(password.get_secret_value(), username):
        raise ValueError(
            f"{variable} {weakness}, and AIRFLOW__API__HOST is"
            f" {settings.airflow__api__host!r}, which others can reach: set a password of"
            f" {CHARACTERS_OF_A_STRONG_PASSWORD} characters or more, or listen on 127.0.0.1"
        )


def _weakness(password: str, username: str) -> str | None:
    if password.casefold() == username.casefold():
        return "is the user name"
    if len(password) < CHARACTERS_OF_A_STRONG_PASSWORD:
        return f"is shorter than {CHARACTERS_OF_A_STRONG_PASSWORD} characters"
    return None
