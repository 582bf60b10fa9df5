"""The settings of a training, read once from the environment that `serve` gives to every task."""

import functools
import os
from pathlib import Path
from typing import ClassVar

from pydantic import Field

from hostkit.settings import Settings, load

MIB = 1024 * 1024


class TrainingSettings(Settings):
    """What a training takes where the request does not say otherwise."""

    host_name: ClassVar[str] = "airflow-host"

    airflow_home: Path = Field(description="The folder of Airflow's state; tables are kept below.")
    mlflow_tracking_uri: str = Field(description="Where runs and models are recorded.")
    training_data_uri: str | None = Field(
        None,
        description="The table to learn from, CSV or Parquet; unset: scikit-learn's iris.",
        examples=["s3://bucket/table.parquet"],
    )
    training_target: str = Field(
        "species", min_length=1, description="The column of that table to predict."
    )
    training_model_name: str = Field(
        "iris", min_length=1, description="The registered model in MLflow."
    )
    training_margin: float = Field(
        0.0,
        ge=0,
        allow_inf_nan=False,
        description="By how much a new model must beat the champion.",
    )
    training_max_bytes: int = Field(
        256 * MIB, ge=1, description="The size in bytes up to which a table is read."
    )

    @property
    def folder(self) -> Path:
        """Where trainings keep their files."""
        return self.airflow_home / "training"


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
    }
    for name, value in defaults.items():
        os.environ.setdefault(name, value)
    return settings
