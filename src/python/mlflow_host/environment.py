"""The variables by which MLflow's server application is told what it is to serve."""

import importlib.metadata
import runpy
import uuid
from typing import Any

from mlflow_host import callers
from mlflow_host.settings import MlflowSettings

PROXIED_ARTIFACTS = "mlflow-artifacts:/"
"""Clients send and fetch files through the server, and need no access to where it keeps them."""


def server_environment(settings: MlflowSettings) -> dict[str, str]:
    """What `mlflow server` would set for its workers, and what turns off all that we do not want.

    MLflow reads most of them when it is imported, so they must be set before.
    """
    own_names = callers.own_names()
    names = _private_names()
    return {
        names["BACKEND_STORE_URI_ENV_VAR"]: settings.mlflow_backend_store_uri,
        names["REGISTRY_STORE_URI_ENV_VAR"]: settings.mlflow_backend_store_uri,
        names["ARTIFACT_ROOT_ENV_VAR"]: PROXIED_ARTIFACTS,
        names["SERVE_ARTIFACTS_ENV_VAR"]: "true",
        names["ARTIFACTS_DESTINATION_ENV_VAR"]: settings.mlflow_artifacts_destination,
        "MLFLOW_SERVER_ALLOWED_HOSTS": settings.mlflow_server_allowed_hosts
        or ",".join(callers.allowed_hosts(settings, own_names)),
        "MLFLOW_SERVER_CORS_ALLOWED_ORIGINS": settings.mlflow_server_cors_allowed_origins
        or ",".join(callers.allowed_origins(settings, own_names)),
        # Tells this run of the server from the one before, and a server from a job of it.
        "_MLFLOW_SERVER_BOOT_ID": uuid.uuid4().hex,
        "_MLFLOW_IN_JOB_EXECUTOR": "false",
        "_MLFLOW_SGI_NAME": "uvicorn",  # Any ASGI server.
        "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false",
        "MLFLOW_DISABLE_TELEMETRY": "true",
        "MLFLOW_CONFIGURE_LOGGING": "false",  # MLflow's lines come out in the form of all others.
    }


def _private_names() -> dict[str, Any]:
    """The names of MLflow's private variables, which may change with a release of MLflow.

    Read without importing `mlflow.server`, which would build the application at once.
    """
    distribution = importlib.metadata.distribution("mlflow")
    return runpy.run_path(str(distribution.locate_file("mlflow/server/constants.py")))
