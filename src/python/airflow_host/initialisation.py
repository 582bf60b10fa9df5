"""Brings database, roles and accounts to what this release needs. Run as a process of its own."""

import os
import sys

from airflow.providers.fab.auth_manager.cli_commands.utils import get_application_builder
from airflow.providers.fab.auth_manager.models import Role
from airflow.providers.fab.auth_manager.security_manager.override import (
    FabAirflowSecurityManagerOverride,
)
from airflow.providers_manager import ProvidersManager
from airflow.utils.db import initdb
from werkzeug.security import check_password_hash

from airflow_host.user import ACCOUNTS, PERMISSIONS, TRAINER, Account, from_environment


def main() -> None:
    """Does it all; each step finds out whether it was done before."""
    accounts = from_environment(os.environ.pop(ACCOUNTS))
    ProvidersManager().initialize_providers_configuration()  # type: ignore[no-untyped-call]
    initdb()
    with get_application_builder() as builder:
        builder.sm.sync_roles()
        keep_trainer(builder.sm)
        for account in accounts:
            keep_account(builder.sm, account)


def keep_trainer(manager: FabAirflowSecurityManagerOverride) -> None:
    """Makes the role of the API server's account, and takes from it what it should not have."""
    role = manager.find_role(TRAINER) or manager.add_role(TRAINER)
    for permission in list(role.permissions):
        if (permission.action.name, permission.resource.name) not in PERMISSIONS:
            manager.remove_permission_from_role(role, permission)
    for action, resource in sorted(PERMISSIONS):
        manager.add_permission_to_role(role, manager.create_permission(action, resource))


def keep_account(manager: FabAirflowSecurityManagerOverride, account: Account) -> None:
    """Adds the user, or gives the one that was made before this name, password and role."""
    role = manager.find_role(account.role)
    if role is None:
        sys.exit(f"Airflow made no role {account.role!r}")
    named = manager.find_user(username=account.username)
    if named and named.email != account.email and not account.adopts:
        # Somebody made this user for a purpose of theirs; all else goes on without the account.
        sys.stderr.write(
            f"the user {account.username} is somebody else's: set AIRFLOW_API_USERNAME to another"
            " name\n"
        )
        return
    user = named or manager.find_user(email=account.email)
    if user is None:
        if manager.add_user(
            account.username, "Airflow", "Host", account.email, role, account.password
        ):
            return
        sys.exit(f"the user {account.username!r} could not be added")
    user.username = account.username
    user.active = True
    user.roles = _roles(user.roles, role)
    done = manager.update_user(user)
    if done and not check_password_hash(user.password or "", account.password):
        done = manager.reset_password(user.id, account.password)  # Ends the user's sessions too.
    if not done:
        sys.exit(f"the user {account.username!r} could not be changed")


def _roles(present: list[Role], role: Role) -> list[Role]:
    return [role] if role.name == TRAINER else list({*present, role})


if __name__ == "__main__":
    main()
