"""What the MLflow host tells of itself to the commands that all hosts have."""

from pathlib import Path

from hostkit.definition import Contents, Definition
from hostkit.settings import Loaded
from mlflow_host.links import walks
from mlflow_host.settings import MlflowSettings


def _contents(loaded: Loaded[MlflowSettings]) -> Contents:
    destination = loaded.settings.mlflow_artifacts_destination
    # An object store has backups of its own.
    folders = {"artifacts": Path(destination)} if destination.startswith("/") else {}
    return Contents(loaded.settings.mlflow_backend_store_uri, folders)


DEFINITION = Definition(
    settings=MlflowSettings,
    distributions=("mlflow", "hypercorn"),
    unit="mlflow-host.service",
    contents=_contents,
    address=("MLFLOW_HOST", "MLFLOW_PORT"),
    migrates=True,
    walks=walks,
)
