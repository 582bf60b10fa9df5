"""What an operator does with accounts: makes them, lists them, gives them another password.

By MLflow's own store, on the database itself: the server need not run, and sees it within a second.
"""

import re
import warnings
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import sqlalchemy as sa

from hostkit.errors import HostError
from mlflow_host.accounts import schema, setup
from mlflow_host.accounts.roles import ADMIN, ROLES, WORKSPACE, Role
from mlflow_host.accounts.secret import ADMIN_PASSWORD
from mlflow_host.settings import MlflowSettings

SHORTEST = 12
"""Of a password, as MLflow wants it."""

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._@-]{0,63}")


@dataclass(frozen=True)
class User:
    """An account.

    `roles`: its roles; those that MLflow keeps for single objects are not among them.
    """

    name: str
    roles: tuple[str, ...]


def accounts_in(uri: str) -> tuple[User, ...]:
    """The accounts in a database, by name; none where it has no tables of them. Changes nothing."""
    path = sa.make_url(uri).database if uri.startswith("sqlite") else None
    if (path and not Path(path).exists()) or not schema.exist(uri):
        return ()
    users = sa.table(
        "users", *map(sa.column, ("id", "username")), sa.column("is_admin", sa.Boolean)
    )
    roles = sa.table("roles", *map(sa.column, ("id", "name")))
    given = sa.table("user_role_assignments", *map(sa.column, ("user_id", "role_id")))
    question = (
        sa.select(users.c.username, users.c.is_admin, roles.c.name)
        .outerjoin(given, given.c.user_id == users.c.id)
        .outerjoin(roles, roles.c.id == given.c.role_id)
        .order_by(users.c.username, roles.c.name)
    )
    engine = sa.create_engine(uri, poolclass=sa.NullPool)
    with engine.connect() as connection:
        rows = connection.execute(question).all()
    found: dict[str, list[str]] = {}
    for name, is_admin, role in rows:
        shown = found.setdefault(name, [ADMIN] if is_admin else [])
        if role and not role.startswith("__"):  # Those are for single objects.
            shown.append(role)
    return tuple(User(name, tuple(shown)) for name, shown in found.items())


def keep_password(store: Any, name: str, password: str) -> None:
    """Gives an account of MLflow's store the password that its credential holds now."""
    if not store.authenticate_user(name, password):
        store.update_user(name, password=password)


class Users:
    """The accounts of a database, whose tables are made if there are none."""

    def __init__(self, settings: MlflowSettings) -> None:
        uri = settings.mlflow_backend_store_uri
        setup.configure(settings)
        if not schema.are_current(uri):
            schema.upgrade(uri)
        with warnings.catch_warnings(action="ignore"):  # They are for MLflow's own developers.
            from mlflow.exceptions import MlflowException  # noqa: PLC0415 (takes seconds)
            from mlflow.server.auth.sqlalchemy_store import SqlAlchemyStore  # noqa: PLC0415

        self._error = MlflowException
        self._uri = uri
        is_given = settings.mlflow_auth_admin_password is not None
        self._kept = settings.mlflow_auth_admin_username if is_given else None
        store: Any = SqlAlchemyStore()
        store.init_db(uri)
        self._store = store

    def all(self) -> tuple[User, ...]:
        """All accounts, by name."""
        return accounts_in(self._uri)

    def add(self, name: str, role: str, password: str) -> tuple[str, ...]:
        """Makes an account. Returns the names of the models that it takes over."""
        if not _NAME.fullmatch(name):
            raise HostError(
                f"{name!r} is no name for an account: letters, digits and ._@- are allowed"
            )
        _check(password)
        if self._store.has_user(name):
            raise HostError(
                f"there is an account {name} already: 'users password {name}' gives it another"
                " password, 'users remove' takes it away"
            )
        user = self._store.create_user(name, password, is_admin=role == ADMIN)
        if role == ADMIN:
            return ()
        self._store.assign_role_to_user(user.id, self._role(ROLES[role]))
        return self._hand_over_to(name) if role == "airflow" else ()

    def set_password(self, name: str, password: str) -> None:
        """Gives an account another password."""
        self._must_exist(name)
        if name == self._kept:
            raise HostError(
                f"the password of {name} is the credential {ADMIN_PASSWORD}: 'mlflow-host rotate"
                f" {ADMIN_PASSWORD}' replaces it"
            )
        _check(password)
        self._store.update_user(name, password=password)

    def remove(self, name: str) -> None:
        """Takes an account away, with its permissions."""
        self._must_exist(name)
        admins = [user.name for user in self.all() if ADMIN in user.roles]
        if admins == [name]:
            raise HostError(f"{name} is the only admin: make another one first")
        self._store.delete_user(name)

    def _must_exist(self, name: str) -> None:
        if not self._store.has_user(name):
            raise HostError(f"there is no account {name}: 'users list' shows all")

    def _role(self, role: Role) -> int:
        """The number of a role, which is made, and given what it lacks."""
        try:
            found = self._store.get_role_by_name(WORKSPACE, role.name)
        except self._error:
            found = self._store.create_role(role.name, WORKSPACE, role.description)
        has = {(grant.resource_type, grant.permission) for grant in found.permissions or ()}
        for kind, permission in role.grants:
            if (kind, permission) not in has:
                self._store.add_role_permission(found.id, kind, "*", permission)
        number: int = found.id
        return number

    def _hand_over_to(self, name: str) -> tuple[str, ...]:
        """Lets an account change the models, and the experiments, that nobody made by name.

        They are from before there were accounts, when training made them.
        """
        engine = sa.create_engine(self._uri, poolclass=sa.NullPool)
        models = sa.table("registered_models", sa.column("name"))
        experiments = sa.table("experiments", sa.column("experiment_id"))
        with engine.connect() as connection:
            names = list(connection.scalars(sa.select(models.c.name)))
            numbers = list(connection.scalars(sa.select(experiments.c.experiment_id)))
        engine.dispose()
        owned = {
            (grant.resource_type, grant.resource_pattern)
            for role in self._store.list_roles()
            for grant in role.permissions
        }
        free = [model for model in names if ("registered_model", model) not in owned]
        for kind, keys in (("registered_model", free), ("experiment", map(str, numbers))):
            for key in keys:
                if (kind, key) not in owned:
                    self._store.grant_user_permission(name, kind, key, "EDIT")
        return tuple(free)


def _check(password: str) -> None:
    if len(password) < SHORTEST:
        raise HostError(f"the password is too short: {SHORTEST} characters or more are needed")
