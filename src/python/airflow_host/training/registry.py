"""Versions of the registered model in MLflow, and the alias `champion`."""

import tempfile
from pathlib import Path
from typing import Any

import mlflow
import skops.io
from mlflow import MlflowClient
from mlflow.entities.model_registry import ModelVersion
from mlflow.exceptions import MlflowException
from mlflow.models import Model, ModelSignature
from skops.io.exceptions import UntrustedTypesFoundException

from airflow_host.training import runs, signing
from airflow_host.training.candidates import TRUSTED_TYPES
from airflow_host.training.plan import Job, Trained
from airflow_host.training.promotion import Decision
from airflow_host.training.samples import Samples
from airflow_host.training.settings import TrainingSettings
from airflow_host.training.signature import difference, signature

CHAMPION = "champion"
PROMOTION = "promotion"
PROMOTION_REASON = "promotion_reason"


class NotComparableError(Exception):
    """The champion cannot be compared with a challenger.

    `replace`: whether the challenger takes its place all the same.
    """

    def __init__(self, reason: str, *, replace: bool) -> None:
        super().__init__(reason)
        self.replace = replace


def register(client: MlflowClient, settings: TrainingSettings, job: Job, trained: Trained) -> str:
    """The version of the registered model that holds a candidate: made unless it is there."""
    for version in client.search_model_versions(f"run_id = '{trained.run_id}'"):
        if version.name == job.model_name:
            return str(version.version)
    try:
        client.create_registered_model(job.model_name)
    except MlflowException as error:
        if error.error_code != "RESOURCE_ALREADY_EXISTS":
            raise
    made = client.create_model_version(
        job.model_name,
        source=f"models:/{trained.model_id}",
        run_id=trained.run_id,
        model_id=trained.model_id,
        tags={
            **runs.tags(job),
            "candidate": trained.candidate,
            signing.TAG: signing.fingerprint_of(settings.model_signing_key_file),
        },
    )
    return str(made.version)


def champion(client: MlflowClient, name: str) -> ModelVersion | None:
    """The version that has the alias, if one has."""
    version = client.get_registered_model(name).aliases.get(CHAMPION)
    return client.get_model_version(name, version) if version else None


def decision(version: ModelVersion) -> Decision:
    """What was decided about a version that is the champion."""
    return Decision(True, version.tags.get(PROMOTION_REASON, "it is the champion already"))


def write(client: MlflowClient, name: str, version: str, decided: Decision) -> None:
    """Writes down what was decided about a version, then moves the alias to it if so decided."""
    client.set_model_version_tag(name, version, PROMOTION_REASON, decided.reason)
    client.set_model_version_tag(
        name, version, PROMOTION, "promoted" if decided.promoted else "kept"
    )
    # Last: a task that is tried again either finds alias and tags, or decides anew.
    if decided.promoted:
        client.set_registered_model_alias(name, CHAMPION, version)


def predict(version: ModelVersion, rows: Samples) -> Any:
    """What the champion predicts for rows, if it takes and gives what they hold."""
    model = _load(version, signature(rows))
    try:
        return model.predict(rows.features)
    except Exception as error:  # noqa: BLE001 (whatever it raises, it cannot predict)
        raise NotComparableError(f"it cannot predict ({_line(error)})", replace=True) from None


def _load(version: ModelVersion, challenger: ModelSignature) -> Any:
    with tempfile.TemporaryDirectory() as folder:
        path = _download(version, folder)
        try:
            model = Model.load(path)
        except Exception:  # noqa: BLE001 (broken files raise whatever their bytes lead to)
            raise NotComparableError("its files are gone or broken", replace=True) from None
        data = model.flavors.get("sklearn", {})
        if data.get("serialization_format") != "skops":
            raise NotComparableError(
                "it was not made by train_model, so it cannot be loaded safely", replace=False
            )
        if model.signature is None:
            raise NotComparableError("it has no signature", replace=False)
        different = difference(model.signature, challenger)
        if different:
            raise NotComparableError(different, replace=False)
        return _load_file(path / data["pickled_model"])


def _download(version: ModelVersion, folder: str) -> Path:
    uri = f"models:/{version.name}/{version.version}"
    try:
        return Path(mlflow.artifacts.download_artifacts(artifact_uri=uri, dst_path=folder))
    except MlflowException as error:
        if error.error_code != "RESOURCE_DOES_NOT_EXIST":
            raise
        raise NotComparableError("its files are gone", replace=True) from None


def _load_file(path: Path) -> Any:
    try:
        return skops.io.load(path, trusted=list(TRUSTED_TYPES))
    except UntrustedTypesFoundException:
        raise NotComparableError(
            "it holds types that train_model does not trust", replace=False
        ) from None
    except Exception as error:  # noqa: BLE001 (as above)
        raise NotComparableError(f"it cannot be loaded ({_line(error)})", replace=True) from None


def _line(error: Exception) -> str:
    return str(error).partition("\n")[0] or type(error).__name__
