"""MLflow's application with accounts, behind our guard, in this process."""

from typing import Any

import sqlalchemy as sa
from flask import request
from mlflow.exceptions import MlflowException
from mlflow.server import app, auth
from mlflow.server.fastapi_security import HostValidationMiddleware, get_allowed_hosts
from werkzeug.datastructures import Authorization
from werkzeug.wrappers import Response

from mlflow_host.accounts.guard import Guard
from mlflow_host.accounts.operations import keep_password
from mlflow_host.accounts.passwords import Account, Entry, Passwords
from mlflow_host.settings import MlflowSettings

_DELETED = "Deleted_Internal"
"""The stage that MLflow gives to a version that was deleted."""


class _Store:
    """MLflow's accounts."""

    def find(self, name: str) -> Entry | None:
        """The account of a name, if there is one."""
        try:
            user = auth.store.get_user(name)
        except MlflowException:
            return None
        roles = frozenset(role.name for role in auth.store.list_user_roles(user.id))
        return Entry(Account(user.username, bool(user.is_admin), roles), user.password_hash)


passwords = Passwords(_Store())


def authorization() -> Authorization | Response:
    """What MLflow calls to know who sent a request: whom the guard let in."""
    given = request.authorization
    if given and passwords.was_right(given.username or "", given.password or ""):
        return given
    response: Response = auth.make_basic_auth_response()
    return response


def create_application(settings: MlflowSettings) -> Any:
    """MLflow's own application with accounts, of which the admin's is as the settings say."""
    application = auth.create_app(app)
    app.config["SESSION_COOKIE_SAMESITE"] = "Lax"
    # Behind a proxy that speaks TLS, no browser shall send it without.
    app.config["SESSION_COOKIE_SECURE"] = str(settings.mlflow_public_url).startswith("https:")
    given = settings.mlflow_auth_admin_password
    if given is not None:
        keep_password(auth.store, settings.mlflow_auth_admin_username, given.get_secret_value())
    return application


def guarded(application: Any, settings: MlflowSettings) -> Any:
    """The application behind the guard, which answers only to the names of this server."""
    registered = _Registered(settings.mlflow_backend_store_uri)
    guard = Guard(application, passwords, registered.has)
    return HostValidationMiddleware(guard, get_allowed_hosts())


class _Registered:
    """Knows what belongs to a version of a registered model."""

    def __init__(self, uri: str) -> None:
        self._engine = sa.create_engine(uri, pool_size=2, pool_pre_ping=True)
        names = ("storage_location", "source", "run_id", "current_stage")
        self._versions = sa.table("model_versions", *(sa.column(name) for name in names))

    def has(self, kind: str, name: str) -> bool:
        """Whether a version has this run, or this artifact in its folder."""
        versions = self._versions.c
        if kind == "run":
            condition = versions.run_id == name
        else:
            folders = _folders(name)
            place = sa.func.coalesce(versions.storage_location, versions.source)
            condition = place.in_(folders)
        question = (
            sa.select(sa.literal(1))
            .select_from(self._versions)
            .where(condition, versions.current_stage != _DELETED)
            .limit(1)
        )
        with self._engine.connect() as connection:
            return connection.scalar(question) is not None


def _folders(path: str) -> list[str]:
    """The URIs of the folders above a file; none where a server could understand the path twice."""
    parts = path.split("/")
    if "%" in path or "\\" in path or any(part in ("", ".", "..") for part in parts):
        return []
    roots = ["/".join(parts[:depth]) for depth in range(1, len(parts))]
    return [f"mlflow-artifacts:/{root}" for root in roots]
