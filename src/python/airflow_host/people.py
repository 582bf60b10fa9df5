"""People's users in Airflow: adds, lists, changes, removes them. Run as a process of its own.

It reads what is to be done from standard input, as JSON, and prints what came of it: a password is
never an argument, which everybody on the machine can see.
"""

import json
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from airflow.providers.fab.auth_manager.cli_commands.utils import get_application_builder
from airflow.providers.fab.auth_manager.models import User
from airflow.providers.fab.auth_manager.security_manager.override import (
    FabAirflowSecurityManagerOverride as Manager,
)
from airflow.providers_manager import ProvidersManager


@dataclass(frozen=True)
class Order:
    """What is to be done.

    `do`: "add", "list", "password" or "remove".
    `ours`: names of the accounts that the host keeps by its settings: not to be changed here.
    """

    do: str
    name: str = ""
    role: str = ""
    password: str = ""
    ours: tuple[str, ...] = ()


class Refusal(Exception):  # noqa: N818
    """Its argument is a sentence for who ordered it."""


def main() -> None:
    """Carries out one order."""
    order = Order(**json.load(sys.stdin))
    out = sys.stdout
    sys.stdout = sys.stderr  # Airflow prints whatever it likes.
    ProvidersManager().initialize_providers_configuration()  # type: ignore[no-untyped-call]
    try:
        with get_application_builder() as builder:
            answer: object = _DO[order.do](builder.sm, order)
    except Refusal as refusal:
        answer = {"refused": str(refusal)}
    json.dump(answer, out)


def _list(manager: Manager, order: Order) -> list[dict[str, object]]:
    return [
        {
            "name": user.username,
            "roles": sorted(role.name for role in user.roles),
            "active": bool(user.active),
            "last_login": user.last_login.isoformat() if user.last_login else None,
            "kept_by_settings": user.username in order.ours,
        }
        for user in sorted(manager.get_all_users(), key=lambda user: str(user.username))
    ]


def _add(manager: Manager, order: Order) -> dict[str, object]:
    if manager.find_user(username=order.name):
        raise Refusal(
            f"there is a user {order.name} already: 'users password' changes its password"
        )
    role = manager.find_role(order.role)
    email = f"{order.name}@localhost"
    if not manager.add_user(order.name, order.name, "", email, role, order.password):
        raise Refusal(f"Airflow did not add {order.name}, and says why above")
    return {}


def _password(manager: Manager, order: Order) -> dict[str, object]:
    user = _found(manager, order)
    if not manager.reset_password(user.id, order.password):
        raise Refusal(f"Airflow did not change the password of {order.name}")
    return {}


def _remove(manager: Manager, order: Order) -> dict[str, object]:
    user = _found(manager, order)
    user.roles.clear()
    if not manager.del_register_user(user):
        raise Refusal(f"Airflow did not remove {order.name}, and says why above")
    return {}


def _found(manager: Manager, order: Order) -> User:
    if order.name in order.ours:
        raise Refusal(
            f"{order.name} is kept as the settings say: 'rotate' changes its password, the env"
            " file its name"
        )
    user = manager.find_user(username=order.name)
    if user is None:
        raise Refusal(f"there is no user {order.name}: 'users list' shows all")
    return user


_DO: Mapping[str, Callable[[Manager, Order], object]] = {
    "add": _add,
    "list": _list,
    "password": _password,
    "remove": _remove,
}


if __name__ == "__main__":
    main()
