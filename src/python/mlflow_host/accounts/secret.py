"""The credentials that accounts need, which are made at install."""

import secrets
from pathlib import Path

from mlflow_host.settings import MlflowSettings

SECRET_KEY = "MLFLOW_FLASK_SERVER_SECRET_KEY"  # noqa: S105 (its name)
ADMIN_PASSWORD = "MLFLOW_AUTH_ADMIN_PASSWORD"  # noqa: S105

_FOLDER = "secrets"


def made_file(settings: MlflowSettings, name: str) -> Path:
    """Where a secret is that no credential gave: it is made there once."""
    return settings.state_directory / _FOLDER / name


def new_secret() -> str:
    """A password or key that nobody guesses."""
    return secrets.token_urlsafe(32)
