"""The credentials that accounts need, which are made at install."""

import secrets

SECRET_KEY = "MLFLOW_FLASK_SERVER_SECRET_KEY"  # noqa: S105 (its name)
ADMIN_PASSWORD = "MLFLOW_AUTH_ADMIN_PASSWORD"  # noqa: S105


def new_secret() -> str:
    """A password or key that nobody guesses."""
    return secrets.token_urlsafe(32)
