"""Starts a component of Airflow and becomes it."""

import os
import sys
from collections.abc import Mapping
from contextlib import suppress
from typing import Any

from airflow_host import migrate, watcher
from airflow_host.components import Component
from airflow_host.environment import airflow_environment
from airflow_host.secret_keys import KEYS, SIGNING_KEY, make_keys
from airflow_host.settings import AirflowSettings, ComponentSettings
from hostkit import notify
from hostkit.files import read_or_create
from hostkit.network import local_url
from hostkit.settings import Loaded

_CONFIG_FILE = """\
# Airflow reads this file, but its settings are in the env file of the airflow host, which wins.
# Without this file Airflow would write one that holds on to the defaults of its present release.
"""


def serve_api_server(loaded: Loaded[AirflowSettings]) -> None:
    """Becomes the api-server, once it has made the database what it needs."""
    environment = prepare(loaded)
    migrate.migrate(loaded.settings, environment, upgrade=False)
    _become(Component.API_SERVER, loaded.settings, environment)


def serve(component: Component, loaded: Loaded[ComponentSettings]) -> None:
    """Becomes another component, once the database is what it needs."""
    environment = prepare(loaded, signs=component is Component.SCHEDULER)
    migrate.wait_for_database(environment)
    _become(component, loaded.settings, environment)


def prepare(loaded: Loaded[Any], *, signs: bool = False) -> dict[str, str]:
    """Makes the files that Airflow's processes share, and returns their environment.

    `signs`: whether it runs tasks, which sign models.
    """
    settings: ComponentSettings = loaded.settings
    home = settings.airflow_home
    credentials = loaded.credentials()
    others = () if signs else (SIGNING_KEY,)
    keys = make_keys(home, KEYS.keys() - credentials.keys() - set(others))
    read_or_create(home / "airflow.cfg", lambda: _CONFIG_FILE)
    with suppress(
        OSError
    ):  # Below /etc only root may; until there is one, there are no DAGs in it.
        settings.airflow_dags_folder.mkdir(parents=True, exist_ok=True)
    return airflow_environment(
        settings,
        loaded.environment(),
        keys,
        credentials=credentials,
        json_logs=not sys.stderr.isatty(),
    )


def _become(
    component: Component, settings: ComponentSettings, environment: Mapping[str, str]
) -> None:
    """Replaces this process by Airflow's; its logs go where ours go."""
    if notify.listened_to():
        url = local_url(settings.airflow__api__host, settings.airflow__api__port)
        watcher.start(component, url)
    sys.stdout.flush()
    os.dup2(sys.stderr.fileno(), sys.stdout.fileno())
    command = [
        sys.executable,
        "-m",
        "airflow_host.process",
        component,
        *component.arguments,
    ]
    os.execve(sys.executable, command, environment)  # noqa: S606 (no shell is wanted)
