"""The accounts that the host itself keeps as its settings say: an Admin, and the API server's."""

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

import sqlalchemy as sa
from werkzeug.security import check_password_hash

from airflow_host.settings import AirflowSettings

ADMIN = "Admin"
TRAINER = "TripodTrainer"

ACCOUNTS = "TRIPOD_ACCOUNTS"
"""The variable by which they reach the process that keeps them."""

TRAINING_DAG = "train_model"

PERMISSIONS = frozenset(
    {
        ("can_read", f"DAG:{TRAINING_DAG}"),
        ("can_create", f"DAG Run:{TRAINING_DAG}"),
        ("can_read", f"DAG Run:{TRAINING_DAG}"),
        # Of every DAG; but to read them one must be able to read the DAG too.
        ("can_read", "DAG Runs"),
        ("can_read", "Task Instances"),
        ("can_read", "XComs"),
        # FAB gives it to every role; by itself it opens nothing.
        ("can_read", "Website"),
    }
)
"""What the role `TRAINER` may do, as FAB says it. In the database from the first start, before the
DAG is; a sync of the DAG changes nothing in them, since the DAG has no `access_control`."""


@dataclass(frozen=True)
class Account:
    """A user of Airflow's whom the host keeps.

    `email`: by which it is known again after its name changed.
    `adopts`: whether a user of this name whom somebody else made becomes this account.
    """

    username: str
    password: str = field(repr=False)
    role: str
    email: str
    adopts: bool


def accounts(settings: AirflowSettings) -> tuple[Account, ...]:
    """The accounts that the settings ask for."""
    admin = Account(
        settings.airflow_username,
        settings.airflow_password.get_secret_value(),
        ADMIN,
        "airflow-host@localhost",
        adopts=True,
    )
    if settings.airflow_api_password is None:
        return (admin,)
    api = Account(
        settings.airflow_api_username,
        settings.airflow_api_password.get_secret_value(),
        TRAINER,
        "api-host@localhost",
        adopts=False,
    )
    return (admin, api)


def as_environment(settings: AirflowSettings) -> dict[str, str]:
    """The accounts for a child process: arguments can be seen by everybody on the machine."""
    return {ACCOUNTS: json.dumps([asdict(account) for account in accounts(settings)])}


def from_environment(text: str) -> tuple[Account, ...]:
    """The accounts that `as_environment` wrote."""
    return tuple(Account(**document) for document in json.loads(text))


def are_as_in(settings: AirflowSettings, engine: sa.Engine) -> bool:
    """Whether all accounts are as the settings say."""
    return all(problem(account, engine) is None for account in accounts(settings))


def problem(account: Account, engine: sa.Engine) -> str | None:
    """In what an account is not as the settings say.

    Read from FAB's tables: importing FAB takes seconds, and mostly there is nothing to change.
    """
    with engine.connect() as connection:
        found = connection.execute(_USER, {"name": account.username}).all()
        granted = set(connection.execute(_GRANTED, {"role": account.role}).tuples().all())
    what = _difference(account, found, granted)
    return f"the user {account.username} {what}" if what else None


def _difference(
    account: Account, found: Sequence[sa.Row[*tuple[Any, ...]]], granted: set[tuple[str, str]]
) -> str | None:
    if not found:
        return "is not there"
    first, roles = found[0], {row.role for row in found}
    differences = {
        "is somebody else's": not account.adopts and first.email != account.email,
        "is not active": not first.active,
        f"has not the role {account.role}": account.role not in roles,
        "may do other things than it is made for": account.role == TRAINER
        and (roles != {TRAINER} or granted != PERMISSIONS),
    }
    for difference, is_so in differences.items():
        if is_so:
            return difference
    right = check_password_hash(first.password or "", account.password)  # Slow on purpose.
    return None if right else "has another password"


def logins(name: str, engine: sa.Engine) -> int:
    """How often somebody has logged in as this user."""
    with engine.connect() as connection:
        rows = connection.execute(_USER, {"name": name}).all()
    return int(rows[0].login_count or 0) if rows else 0


def unused(name: str) -> str:
    """What is to be done where nobody has logged in as the API server's account."""
    return (
        f"no API server has logged in as {name} yet: on the API server set AIRFLOW_USERNAME={name}"
        " in /etc/api-host/env, copy this server's /etc/airflow-host/credentials/"
        "AIRFLOW_API_PASSWORD to /etc/api-host/credentials/AIRFLOW_PASSWORD there, and"
        " 'systemctl restart api-host'"
    )


def _columns(*names: str) -> list[sa.ColumnClause[Any]]:
    return [sa.column(name) for name in names]


_users = sa.table(
    "ab_user",
    sa.column("active", sa.Boolean),
    *_columns("id", "username", "password", "email", "login_count"),
)
_roles = sa.table("ab_role", *_columns("id", "name"))
_users_roles = sa.table("ab_user_role", *_columns("user_id", "role_id"))
_grants = sa.table("ab_permission_view_role", *_columns("permission_view_id", "role_id"))
_permissions = sa.table("ab_permission_view", *_columns("id", "permission_id", "view_menu_id"))
_actions = sa.table("ab_permission", *_columns("id", "name"))
_resources = sa.table("ab_view_menu", *_columns("id", "name"))

_USER = (
    sa.select(
        _users.c.password,
        _users.c.active,
        _users.c.email,
        _users.c.login_count,
        _roles.c.name.label("role"),
    )
    .outerjoin(_users_roles, _users_roles.c.user_id == _users.c.id)
    .outerjoin(_roles, _roles.c.id == _users_roles.c.role_id)
    .where(_users.c.username == sa.bindparam("name"))
)

_GRANTED = (
    sa.select(_actions.c.name, _resources.c.name)
    .select_from(_roles)
    .join(_grants, _grants.c.role_id == _roles.c.id)
    .join(_permissions, _permissions.c.id == _grants.c.permission_view_id)
    .join(_actions, _actions.c.id == _permissions.c.permission_id)
    .join(_resources, _resources.c.id == _permissions.c.view_menu_id)
    .where(_roles.c.name == sa.bindparam("role"))
)
