"""The settings of a training, read once from the environment that `serve` gives to every task."""

import functools
import os
from pathlib import Path
from typing import Annotated, ClassVar

from pydantic import AfterValidator, Field, PositiveInt

from airflow_host.training.addresses import METADATA, Exempt
from hostkit.files import AbsolutePath
from hostkit.settings import WITH_COMMAS, Settings, load

MIB = 1024 * 1024
GIB = 1024 * MIB
MINUTES = 60.0
HTTP_PORT = 80


def _check_host(text: str) -> str:
    Exempt.parse(text)
    return text


class TrainingDefaults(Settings):
    """What trainings take where nobody says otherwise, and what they may take."""

    host_name: ClassVar[str] = "airflow-host"

    training_data_uri: str | None = Field(
        None,
        description="The table that train_model learns from, CSV or Parquet: a path or a URL.",
        examples=["s3://bucket/table.parquet"],
    )
    training_target: str = Field(
        "species",
        min_length=1,
        description="The column of that table that the model predicts.",
        examples=["species"],
    )
    training_model_name: str = Field(
        "iris",
        min_length=1,
        description="The name under which train_model registers its models in MLflow.",
        examples=["iris"],
    )
    training_margin: float = Field(
        0.0,
        ge=0,
        allow_inf_nan=False,
        description="By how much a new model must beat the champion before it takes its place.",
        examples=["0.01"],
    )
    training_data_folders: Annotated[tuple[AbsolutePath, ...], WITH_COMMAS] = Field(
        (Path("/srv/tables"),),
        description="The folders, with commas, below which a request may name a table.",
        examples=["/srv/tables,/mnt/exports"],
    )
    training_data_hosts: Annotated[
        tuple[Annotated[str, AfterValidator(_check_host)], ...], WITH_COMMAS
    ] = Field(
        (),
        description="The hosts, with commas, that a request may name though they are this machine,"
        " on its link or its cloud's metadata: names, addresses or networks, with or without a"
        " port.",
        examples=["127.0.0.1:9000"],
    )
    training_max_bytes: int = Field(
        256 * MIB,
        ge=1,
        description="The size in bytes up to which train_model reads a table.",
        examples=["268435456"],
    )
    training_max_seconds: float = Field(
        10 * MINUTES,
        gt=0,
        allow_inf_nan=False,
        description="For how many seconds a table may be fetched, and for how many read.",
        examples=["600"],
    )
    training_max_memory_bytes: int = Field(
        2 * GIB,
        ge=256 * MIB,
        description="How much memory it may take to read a table, unpacked and as text.",
        examples=["2147483648"],
    )
    training_max_rows: PositiveInt = Field(
        5_000_000, description="The number of rows that a table may have.", examples=["5000000"]
    )
    training_max_columns: int = Field(
        2000,
        ge=2,
        le=1_000_000,
        description="The number of columns that a table may have.",
        examples=["2000"],
    )
    training_max_cell_characters: PositiveInt = Field(
        65_536,
        description="The length of a text in a table, in characters.",
        examples=["65536"],
    )


class TrainingSettings(TrainingDefaults):
    """What a training knows of the host that it runs on."""

    airflow_home: Path = Field(description="The folder of Airflow's state; tables are kept below.")
    mlflow_tracking_uri: str = Field(description="Where runs and models are recorded.")
    model_signing_key_file: Path = Field(description="The private key that signs models.")

    @property
    def folder(self) -> Path:
        """Where trainings keep their files."""
        return self.airflow_home / "training"

    @property
    def iris(self) -> Path:
        """The file of scikit-learn's iris, where nobody names a table."""
        return self.folder / "iris.csv"


@functools.cache
def read_settings() -> TrainingSettings:
    """The settings of this process. Also tells the libraries that a training uses to keep quiet.

    To be called before one of those libraries is imported.
    """
    # `serve` has put the env file into the environment: there is no second one to read.
    settings = load(TrainingSettings, env_file=Path(os.devnull)).settings
    defaults = {
        "GIT_PYTHON_REFRESH": "quiet",
        "MLFLOW_DISABLE_TELEMETRY": "true",
        # Airflow tries again; MLflow's own 7 times would hide for minutes that nobody answers.
        "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "2",
        "MLFLOW_RECORD_ENV_VARS_IN_MODEL_LOGGING": "false",
        # Without a folder that lasts, Matplotlib looks for the machine's fonts in every task.
        "MPLCONFIGDIR": str(settings.folder / "matplotlib"),
        # The client of object stores would ask the cloud for keys that nobody gave it.
        "AWS_EC2_METADATA_DISABLED": str(not _may_ask_cloud(settings)).lower(),
    }
    for name, value in defaults.items():
        os.environ.setdefault(name, value)
    return settings


def _may_ask_cloud(settings: TrainingSettings) -> bool:
    hosts = [Exempt.parse(text) for text in settings.training_data_hosts]
    return any(host.covers("", METADATA[0], HTTP_PORT) for host in hosts)
