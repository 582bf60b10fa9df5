"""The user whom the API server logs in as, kept as the env file says."""

import sqlalchemy as sa
from werkzeug.security import check_password_hash

from airflow_host.settings import AirflowSettings

ROLE = "Admin"
EMAIL = "airflow-host@localhost"
"""By which the user is known again after AIRFLOW_USERNAME changed."""


def as_environment(settings: AirflowSettings) -> dict[str, str]:
    """The user for a child process: arguments can be seen by everybody on the machine."""
    return {
        "AIRFLOW_USERNAME": settings.airflow_username,
        "AIRFLOW_PASSWORD": settings.airflow_password.get_secret_value(),
    }


def is_as_in(settings: AirflowSettings, engine: sa.Engine) -> bool:
    """Whether the user is there, active, an Admin, and has the password of the env file."""
    return problem(settings, engine) is None


def problem(settings: AirflowSettings, engine: sa.Engine) -> str | None:
    """In what the user is not as the env file says.

    Read from FAB's tables: importing FAB takes seconds, and mostly there is nothing to change.
    """
    name = settings.airflow_username
    users, roles, assignments = _tables()
    query = (
        sa.select(users.c.password, users.c.active, roles.c.name)
        .outerjoin(assignments, assignments.c.user_id == users.c.id)
        .outerjoin(roles, roles.c.id == assignments.c.role_id)
        .where(users.c.username == name)
    )
    with engine.connect() as connection:
        found = connection.execute(query).all()
    if not found:
        return f"there is no user {name}"
    stored, active, _ = found[0]
    if not active:
        return f"the user {name} is not active"
    if ROLE not in {role for _, _, role in found}:
        return f"the user {name} has not the role {ROLE}"
    if not check_password_hash(stored or "", settings.airflow_password.get_secret_value()):
        return f"the user {name} has another password"
    return None


def _tables() -> tuple[sa.TableClause, sa.TableClause, sa.TableClause]:
    def columns(*names: str) -> list[sa.ColumnClause[object]]:
        return [sa.column(name) for name in names]

    return (
        sa.table(
            "ab_user", sa.column("active", sa.Boolean), *columns("id", "username", "password")
        ),
        sa.table("ab_role", *columns("id", "name")),
        sa.table("ab_user_role", *columns("user_id", "role_id")),
    )
