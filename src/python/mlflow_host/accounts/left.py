"""What `install` tells an operator to do about accounts."""

import json

from hostkit.server import systemd
from hostkit.server.layout import Layout
from hostkit.settings import Loaded
from mlflow_host.settings import MlflowSettings

_SERVICES = ("api", "airflow")


def to_run(loaded: Loaded[MlflowSettings]) -> tuple[str, ...]:
    """The accounts of the other hosts that nobody has made yet."""
    layout = Layout(MlflowSettings.host_name)
    if not loaded.settings.asks_for_accounts or not systemd.is_for_the_service(layout):
        return ()
    # By the host's own user: root would leave files beside its database.
    listed = systemd.run_as_service(layout, ["users", "list", "--json"], capture=True)
    users = json.loads(listed.stdout) if listed.returncode == 0 else []
    there = {role for user in users for role in user["roles"]}
    commands = [f"mlflow-host users add-service {name}" for name in _SERVICES if name not in there]
    if users or not commands:
        return tuple(commands)
    # Until the first account is made, a database from a release without them stays open.
    return (*commands, "systemctl restart mlflow-host (then everybody needs an account)")
