"""The env file of the API host: where the other servers are, which models it serves, its limits."""

from pathlib import Path
from typing import Annotated, ClassVar, Literal, Self
from urllib.parse import urlsplit

from pydantic import (
    AfterValidator,
    BeforeValidator,
    Field,
    NonNegativeInt,
    PositiveFloat,
    PositiveInt,
    SecretStr,
    field_validator,
    model_validator,
)

from api_host.auth.caller import Rates
from api_host.bounds import LEAST_CHARACTERS, LEAST_DEPTH, Bounds
from api_host.limits import Limits, ModelLimits, OwnLimits, read_limits
from api_host.rates.addresses import Network, read_networks
from hostkit.files import AbsolutePath
from hostkit.network import HttpUrl, ListenAddress, Port, is_loopback
from hostkit.settings import WITH_COMMAS, Settings

KIBIBYTE = 1024
MEBIBYTE = 1024 * KIBIBYTE
GIBIBYTE = 1024 * MEBIBYTE

MOST_DEPTH = 500
"""Python itself cannot follow much more."""

LEAST_HEADERS = 16
LEAST_HEADER_BYTES = 2 * KIBIBYTE
"""Browsers and proxies have as many for any request."""

MOST_HEADER_BYTES = MEBIBYTE

MOST_WORKERS = 256

_NO_NAMES = ("yes", "no", "true", "false", "1", "0", "on", "off", "all", "*")
LEAST_SECRET_BYTES = 32

DEFAULT_ACCOUNT = "airflow"
"""User and password of a fresh Airflow: known to everybody, so good for this machine only."""


def _jwks_source(text: str) -> str:
    if text.startswith("/"):
        return text
    parts = urlsplit(text)
    if parts.scheme == "https" or (parts.scheme == "http" and is_loopback(parts.hostname or "")):
        return text
    raise ValueError("it must be an absolute path or an https URL: whoever changes it, signs")


JwksSource = Annotated[str, AfterValidator(_jwks_source)]
"""An absolute path, or a URL that nobody on the way can answer in place of its server."""

Names = Annotated[tuple[str, ...], WITH_COMMAS]
"""Names with commas between them."""


def _check_names(names: tuple[str, ...]) -> tuple[str, ...]:
    if any(name.casefold() in _NO_NAMES for name in names):
        raise ValueError("it must name the models whose pickles you trust, with commas")
    return names


def _read_limits(value: object) -> object:
    return read_limits(value) if isinstance(value, str) else value


LimitsOfModels = Annotated[tuple[OwnLimits, ...], BeforeValidator(_read_limits)]
"""The limits that models have for themselves, with commas between the models."""


def _read_networks(value: object) -> object:
    return read_networks(value) if isinstance(value, str) else value


Networks = Annotated[tuple[Network, ...], BeforeValidator(_read_networks)]
"""Addresses and networks, with commas between them."""


class ApiSettings(Settings):
    """Settings of the API host."""

    host_name: ClassVar[str] = "api-host"

    mlflow_tracking_uri: HttpUrl = Field(
        default="http://127.0.0.1:5000",
        description="URL of MLflow, whose registry the models come from.",
        examples=["http://mlflow:5000"],
    )
    mlflow_tracking_username: str = Field(
        default="api",
        min_length=1,
        description="Account in MLflow that reads the models; used where its password is set.",
        examples=["api"],
    )
    mlflow_tracking_password: SecretStr | None = Field(
        default=None,
        description="Password of that account, if MLflow wants one.",
    )
    airflow_base_url: HttpUrl = Field(
        default="http://127.0.0.1:8080",
        description="URL of Airflow, which trains.",
        examples=["http://airflow:8080"],
    )
    airflow_username: str = Field(
        default=DEFAULT_ACCOUNT,
        min_length=1,
        description="Airflow user that starts trainings.",
        examples=["api"],
    )
    airflow_password: SecretStr = Field(
        default=SecretStr(DEFAULT_ACCOUNT),
        min_length=1,
        description="Password of that user; the default is for an Airflow on this machine only.",
    )
    ssl_cert_file: AbsolutePath | None = Field(
        default=None,
        description="CA certificates (PEM) by which https URLs are trusted; empty: public ones.",
        examples=["/etc/ssl/certs/ca-certificates.crt"],
    )
    tls_certificate_file: AbsolutePath | None = Field(
        default=None,
        description="Certificate and key (PEM, one file) that this host shows to other hosts.",
        examples=["/etc/api-host/tls.pem"],
    )
    api_host: ListenAddress = Field(
        default="127.0.0.1",
        description="Address to listen on; 0.0.0.0 for every network of this machine.",
        examples=["127.0.0.1"],
    )
    api_port: Port = Field(default=8000, description="Port to listen on.", examples=["8000"])
    api_grpc_port: Port | None = Field(
        default=None,
        description="Port of the Open Inference Protocol over gRPC; empty: none.",
        examples=["8001"],
    )
    api_workers: PositiveInt = Field(
        default=1,
        le=MOST_WORKERS,
        description="How many processes systemd starts to predict; each holds all models.",
        examples=["2"],
    )
    api_public_url: HttpUrl | None = Field(
        default=None,
        description="URL by which clients reach this host through a proxy, if there is one.",
        examples=["https://api.example.com"],
    )
    state_directory: AbsolutePath = Field(
        default=Path("/var/lib/api-host"),
        description="Folder of the last good copy of each model; systemd sets it.",
        examples=["/var/lib/api-host"],
    )
    model_names: Names = Field(
        default=(),
        description="Registered models to serve, with commas; empty: all that have the alias.",
        examples=["iris,churn"],
    )
    model_alias: str = Field(
        default="champion",
        min_length=1,
        description="Alias in the registry whose version is served.",
        examples=["champion"],
    )
    model_name: str | None = Field(
        default=None,
        description="Model that /invocations asks; needed only where several are served.",
        examples=["iris"],
    )
    model_trusted_types: Names = Field(
        default=(),
        description="Further types that model files may hold, with commas; each is code that runs.",
        examples=["sklearn.neighbors._kd_tree.KDTree"],
    )
    model_public_keys: Annotated[tuple[AbsolutePath, ...], WITH_COMMAS] = Field(
        default=(),
        description="Files (PEM), with commas, of the keys whose signature a model needs to be"
        " served; empty: any model is.",
        examples=["/etc/api-host/airflow.pub"],
    )
    model_allow_pickle: Annotated[Names, AfterValidator(_check_names)] = Field(
        default=(),
        description="Models, with commas, whose files may be pickles, which run code when they are"
        " loaded.",
        examples=["churn"],
    )
    model_compile: Literal["yes", "no"] = Field(
        default="yes",
        description="Whether a faster equivalent answers for a model, where it is proven equal.",
        examples=["no"],
    )
    model_max_bytes: NonNegativeInt | None = Field(
        default=4 * GIBIBYTE,
        description="Most bytes of all files of a model version together; empty or 0: any.",
        examples=["4294967296"],
    )
    model_extra_versions: PositiveInt = Field(
        default=4,
        description="How many versions that were asked for by number or alias stay loaded.",
        examples=["4"],
    )
    model_limits: LimitsOfModels = Field(
        default=(),
        description="Limits of single models, with commas; what is not named is as for all.",
        examples=["forest waiting=64 batch_rows=200 max_rows=1000 timeout_seconds=5"],
    )
    api_max_body_bytes: PositiveInt = Field(
        default=16 * MEBIBYTE,
        description="Largest body of a request, in bytes.",
        examples=["16777216"],
    )
    api_max_rows: PositiveInt = Field(
        default=100_000, description="Most rows in one request.", examples=["100000"]
    )
    api_max_columns: PositiveInt = Field(
        default=10_000,
        description="Most columns in one request, unless the model itself takes more.",
        examples=["10000"],
    )
    api_max_json_depth: int = Field(
        default=64,
        ge=LEAST_DEPTH,
        le=MOST_DEPTH,
        description="How many arrays and objects of JSON may be within each other.",
        examples=["64"],
    )
    api_max_string_characters: int = Field(
        default=65_536,
        ge=LEAST_CHARACTERS,
        description="Most characters of a string in a request, and bytes of a binary value.",
        examples=["65536"],
    )
    api_max_headers: int = Field(
        default=100,
        ge=LEAST_HEADERS,
        description="Most headers of a request.",
        examples=["100"],
    )
    api_max_header_bytes: int = Field(
        default=16 * KIBIBYTE,
        ge=LEAST_HEADER_BYTES,
        le=MOST_HEADER_BYTES,
        description="Most bytes of a request's line and headers.",
        examples=["16384"],
    )
    api_max_connections: PositiveInt = Field(
        default=1000,
        description="Most connections to a process, and as many over gRPC; others are refused.",
        examples=["1000"],
    )
    api_max_connections_per_address: PositiveInt = Field(
        default=500,
        description="Most of them from one address; a proxy is one for all its clients.",
        examples=["500"],
    )
    api_max_waiting: PositiveInt = Field(
        default=256,
        description="Most predictions of one model that wait; further ones are answered 503.",
        examples=["256"],
    )
    api_batch_rows: PositiveInt = Field(
        default=1000,
        description="Most rows of waiting requests that a model predicts at once; 1: one by one.",
        examples=["1000"],
    )
    api_read_timeout_seconds: PositiveFloat = Field(
        default=10.0,
        description="How long a client may take to send headers or a body, or to begin to read.",
        examples=["10"],
    )
    api_idle_timeout_seconds: PositiveFloat = Field(
        default=75.0, description="How long a connection may be without a request.", examples=["75"]
    )
    api_predict_timeout_seconds: PositiveFloat = Field(
        default=30.0, description="How long a prediction may take.", examples=["30"]
    )
    api_rate_requests: NonNegativeInt | None = Field(
        default=1000,
        description="Most requests of one caller a second; empty or 0: as many as come.",
        examples=["1000"],
    )
    api_rate_rows: NonNegativeInt | None = Field(
        default=1_000_000,
        description="Most rows that one caller may have predicted a second; empty or 0: any.",
        examples=["1000000"],
    )
    api_rate_concurrent: NonNegativeInt | None = Field(
        default=200,
        description="Most requests of one caller at once, on this host; empty or 0: any.",
        examples=["200"],
    )
    api_rate_trainings: NonNegativeInt | None = Field(
        default=60,
        description="Most trainings that one caller may start an hour; empty or 0: any.",
        examples=["60"],
    )
    api_rate_guesses: NonNegativeInt | None = Field(
        default=300,
        description="Most wrong keys or tokens from one address a minute; empty or 0: any.",
        examples=["300"],
    )
    api_rates_url: SecretStr | None = Field(
        default=None,
        description="URL of the Redis where several API hosts count together; empty: none.",
    )
    forwarded_allow_ips: Networks = Field(
        default=read_networks("127.0.0.1"),
        description="Proxies (addresses, networks) whose X-Forwarded-For is believed.",
        examples=["127.0.0.1,10.0.0.0/24"],
    )
    runtime_directory: AbsolutePath | None = Field(
        default=None,
        description="Folder where workers count together; systemd sets it; empty: in the state's.",
        examples=["/run/api-host"],
    )

    @property
    def rates(self) -> Rates:
        """What a caller may ask who has no rates of their own."""
        return Rates(
            self.api_rate_requests or None,
            self.api_rate_rows or None,
            self.api_rate_concurrent or None,
            self.api_rate_trainings or None,
        )

    @property
    def rates_folder(self) -> Path:
        """Where the workers count together what callers ask."""
        return self._shared_folder / "rates"

    @property
    def metrics_folder(self) -> Path:
        """Where the workers count together what their metrics tell."""
        return self._shared_folder / "metrics"

    @property
    def _shared_folder(self) -> Path:
        return self.runtime_directory or self.state_directory / "run"

    @field_validator("api_rates_url")
    @classmethod
    def _check_redis(cls, url: SecretStr | None) -> SecretStr | None:
        if url and urlsplit(url.get_secret_value()).scheme not in ("redis", "rediss"):
            raise ValueError("must be a URL such as redis://:PASSWORD@redis:6379/0, or rediss://")
        return url

    api_auth: Literal["yes", "no"] | None = Field(
        default=None,
        description="Whether callers must show a key or a token; empty: off loopback.",
        examples=["yes"],
    )
    api_keys_file: AbsolutePath = Field(
        default=Path("/etc/api-host/keys.json"),
        description="File of the API keys, which 'api-host keys' writes.",
        examples=["/etc/api-host/keys.json"],
    )
    api_jwt_issuer: str | None = Field(
        default=None,
        min_length=1,
        description="Who must have made a bearer token (its iss); empty: none are accepted.",
        examples=["https://login.example.com/"],
    )
    api_jwt_audience: str | None = Field(
        default=None,
        min_length=1,
        description="Whom a bearer token must be made for (its aud): this host.",
        examples=["tripod-api"],
    )
    api_jwks: JwksSource | None = Field(
        default=None,
        description="File or https URL of the public keys that tokens are signed with (JWKS).",
        examples=["https://login.example.com/.well-known/jwks.json"],
    )
    api_jwks_seconds: PositiveFloat = Field(
        default=300.0,
        description="How old those keys may get; for an unknown one they are read sooner.",
        examples=["300"],
    )
    api_jwt_secret: SecretStr | None = Field(
        default=None,
        description="Instead of API_JWKS: the secret that tokens are signed with (HS256).",
    )

    @property
    def auth(self) -> bool:
        """Whether callers must say who they are: by default where others than us can reach us."""
        if self.api_auth is not None:
            return self.api_auth == "yes"
        return self.is_reachable

    @property
    def is_reachable(self) -> bool:
        """Whether other machines can reach this host."""
        public = urlsplit(self.api_public_url or "").hostname
        return not (is_loopback(self.api_host) and (public is None or is_loopback(public)))

    @property
    def limits(self) -> ModelLimits:
        """What each model may be asked."""
        of_all = Limits(
            waiting=self.api_max_waiting,
            batch_rows=self.api_batch_rows,
            max_rows=self.api_max_rows,
            timeout_seconds=self.api_predict_timeout_seconds,
        )
        bounds = Bounds(
            rows=self.api_max_rows,
            columns=self.api_max_columns,
            depth=self.api_max_json_depth,
            characters=self.api_max_string_characters,
        )
        return ModelLimits(of_all, self.model_limits, bounds)

    @model_validator(mode="after")
    def _refuse_one_port_for_two(self) -> Self:
        if self.api_grpc_port == self.api_port:
            raise ValueError(
                f"API_GRPC_PORT is {self.api_grpc_port}, and so is API_PORT: gRPC has a port of its"
                " own; set it to another, or to nothing"
            )
        return self

    @model_validator(mode="after")
    def _refuse_half_of_tokens(self) -> Self:
        if self.api_jwks is not None and self.api_jwt_secret is not None:
            raise ValueError(
                "API_JWKS and API_JWT_SECRET are both set: a token is checked in one way, so that"
                " it cannot choose the weaker; keep one of them"
            )
        signed = self.api_jwks is not None or self.api_jwt_secret is not None
        given = (self.api_jwt_issuer is not None, self.api_jwt_audience is not None, signed)
        if any(given) and not all(given):
            raise ValueError(
                "bearer tokens need API_JWT_ISSUER, API_JWT_AUDIENCE, and one of API_JWKS and"
                " API_JWT_SECRET: set what is missing, or none of them"
            )
        secret = self.api_jwt_secret
        if secret is not None and len(secret.get_secret_value().encode()) < LEAST_SECRET_BYTES:
            raise ValueError(
                f"API_JWT_SECRET has fewer than {LEAST_SECRET_BYTES} bytes, and can be guessed:"
                " 'openssl rand -hex 32' makes a good one"
            )
        return self

    @model_validator(mode="after")
    def _refuse_a_known_password(self) -> Self:
        host = urlsplit(self.airflow_base_url).hostname or ""
        if self.airflow_password.get_secret_value() == DEFAULT_ACCOUNT and not is_loopback(host):
            raise ValueError(
                f"AIRFLOW_PASSWORD is the default, which everybody knows, and AIRFLOW_BASE_URL is"
                f" {self.airflow_base_url}: set the password of {self.airflow_username} there"
            )
        return self
