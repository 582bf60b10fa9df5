"""Signs a version that is in the registry already, because an operator says that it is good."""

import tempfile
from pathlib import Path

import mlflow
from mlflow import MlflowClient
from mlflow.exceptions import MlflowException
from mlflow.store.artifact.artifact_repository_registry import get_artifact_repository

from airflow_host.training import signing
from hostkit.errors import HostError
from hostkit.signing.statement import SIGNATURE_FILE, Identity


def approve(tracking_uri: str, key_file: Path, name: str, version: str) -> str:
    """Signs the files of a version as they are now; the fingerprint of the key.

    Raises `HostError`.
    """
    mlflow.set_tracking_uri(tracking_uri)
    client = MlflowClient()
    try:
        found = client.get_model_version(name, version)
        files = get_artifact_repository(client.get_model_version_download_uri(name, version))
        with tempfile.TemporaryDirectory() as parent:
            folder = Path(parent) / "model"
            folder.mkdir()
            files.download_artifacts("", str(folder))  # type: ignore[no-untyped-call]
            identity = Identity.of(name, found.run_id, found.source)
            signing.sign(folder, identity, key_file)
            signature = str(folder / SIGNATURE_FILE)
            files.log_artifact(signature)  # type: ignore[no-untyped-call]
        fingerprint = signing.fingerprint_of(key_file)
        client.set_model_version_tag(name, version, signing.TAG, fingerprint)
        # A tag alone does not tell the API that anything has changed.
        client.update_registered_model(name, client.get_registered_model(name).description)
    except MlflowException as error:
        reason = str(error).partition("\n")[0]
        raise HostError(
            f"version {version} of {name} cannot be signed: MLflow at {tracking_uri} says {reason}"
        ) from None
    return fingerprint
