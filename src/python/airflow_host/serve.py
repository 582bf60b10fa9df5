"""Starts a component of Airflow and becomes it."""

import os
import sys
from collections.abc import Mapping
from contextlib import suppress

from airflow_host import migrate
from airflow_host.components import Component
from airflow_host.environment import airflow_environment
from airflow_host.secret_keys import make_keys
from airflow_host.settings import AirflowSettings
from hostkit.files import read_or_create
from hostkit.settings import Loaded

_CONFIG_FILE = """\
# Airflow reads this file, but its settings are in the env file of the airflow host, which wins.
# Without this file Airflow would write one that holds on to the defaults of its present release.
"""


def serve(component: Component, loaded: Loaded[AirflowSettings]) -> None:
    """Becomes the component, once the database is what it needs."""
    environment = prepare(loaded)
    if component is Component.API_SERVER:
        migrate.migrate(loaded.settings, environment, upgrade=False)
    else:
        migrate.wait_for_database(environment)
    _become((component, *component.arguments), environment)


def prepare(loaded: Loaded[AirflowSettings]) -> dict[str, str]:
    """Makes the files that Airflow's processes share, and returns their environment."""
    home = loaded.settings.airflow_home
    keys = make_keys(home)
    read_or_create(home / "airflow.cfg", lambda: _CONFIG_FILE)
    with suppress(
        OSError
    ):  # Below /etc only root may; until there is one, there are no DAGs in it.
        loaded.settings.airflow_dags_folder.mkdir(parents=True, exist_ok=True)
    return airflow_environment(
        loaded.settings, loaded.environment(), keys, json_logs=not sys.stderr.isatty()
    )


def _become(arguments: tuple[str, ...], environment: Mapping[str, str]) -> None:
    """Replaces this process by Airflow's; its logs go where ours go."""
    sys.stdout.flush()
    os.dup2(sys.stderr.fileno(), sys.stdout.fileno())
    command = [sys.executable, "-m", "airflow_host.process", *arguments]
    os.execve(sys.executable, command, environment)  # noqa: S606 (no shell is wanted)
