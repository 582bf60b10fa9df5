"""What the MLflow host tells of itself to the commands that all hosts have."""

from pathlib import Path

from hostkit.definition import Contents, Definition, Entrance
from hostkit.settings import Loaded
from mlflow_host.accounts.left import to_run
from mlflow_host.accounts.secret import ADMIN_PASSWORD, SECRET_KEY, new_secret
from mlflow_host.links import walks
from mlflow_host.settings import MlflowSettings

SECONDS_TO_STORE_AN_ARTIFACT = 600.0
"""Of any size: MLflow answers when it has stored the last byte."""


def _contents(loaded: Loaded[MlflowSettings]) -> Contents:
    destination = loaded.settings.mlflow_artifacts_destination
    # An object store has backups of its own.
    folders = {"artifacts": Path(destination)} if destination.startswith("/") else {}
    return Contents(loaded.settings.mlflow_backend_store_uri, folders)


def _entrance(loaded: Loaded[MlflowSettings]) -> Entrance:
    settings = loaded.settings
    return Entrance(
        url=settings.mlflow_public_url,
        url_variable="MLFLOW_PUBLIC_URL",
        address=settings.mlflow_host,
        port=settings.mlflow_port,
        max_body_bytes=None,  # A model may have any size.
        timeout_seconds=SECONDS_TO_STORE_AN_ARTIFACT,
    )


DEFINITION = Definition(
    settings=MlflowSettings,
    distributions=("mlflow", "hypercorn"),
    unit="mlflow-host.service",
    contents=_contents,
    address=("MLFLOW_HOST", "MLFLOW_PORT"),
    entrance=_entrance,
    secrets={ADMIN_PASSWORD: new_secret, SECRET_KEY: new_secret},
    migrates=True,
    walks=walks,
    to_run=to_run,
)
