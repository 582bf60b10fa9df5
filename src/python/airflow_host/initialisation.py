"""Brings database, roles and user to what this release needs. Run as a process of its own."""

import os
import sys

from airflow.providers.fab.auth_manager.cli_commands.utils import get_application_builder
from airflow.providers.fab.auth_manager.security_manager.override import (
    FabAirflowSecurityManagerOverride,
)
from airflow.providers_manager import ProvidersManager
from airflow.utils.db import initdb
from werkzeug.security import check_password_hash

from airflow_host.user import EMAIL, ROLE


def main() -> None:
    """Does it all; each step finds out whether it was done before."""
    ProvidersManager().initialize_providers_configuration()  # type: ignore[no-untyped-call]
    initdb()
    with get_application_builder() as builder:
        builder.sm.sync_roles()
        keep_user(builder.sm, os.environ["AIRFLOW_USERNAME"], os.environ["AIRFLOW_PASSWORD"])


def keep_user(manager: FabAirflowSecurityManagerOverride, username: str, password: str) -> None:
    """Adds the user, or gives the one that was made before this name, password and role."""
    role = manager.find_role(ROLE)
    if role is None:
        sys.exit(f"Airflow made no role {ROLE!r}")
    user = manager.find_user(username=username) or manager.find_user(email=EMAIL)
    if user is None:
        if manager.add_user(username, "Airflow", "Host", EMAIL, role, password):
            return
        sys.exit(f"the user {username!r} could not be added")
    user.username = username
    user.active = True
    user.roles = list({*user.roles, role})
    done = manager.update_user(user)
    if done and not check_password_hash(user.password or "", password):
        done = manager.reset_password(user.id, password)  # Ends the user's sessions too.
    if not done:
        sys.exit(f"the user {username!r} could not be changed")


if __name__ == "__main__":
    main()
