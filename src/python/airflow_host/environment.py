"""The environment that Airflow's processes run in, worked out from the host's settings."""

import json
import shlex
from collections.abc import Mapping
from pathlib import Path

from airflow_host.settings import AirflowSettings
from hostkit.network import local_url

PACKAGE = Path(__file__).parent
SHIPPED_DAGS = PACKAGE / "dags"
PLUGINS = PACKAGE / "plugins"

CONNECTION = "AIRFLOW__DATABASE__SQL_ALCHEMY_CONN"
"""Where the database is; Airflow's own variable."""

FAB_AUTH_MANAGER = "airflow.providers.fab.auth_manager.fab_auth_manager.FabAuthManager"
LOCAL_BUNDLE = "airflow.dag_processing.bundles.local.LocalDagBundle"

_KEPT_FROM_AIRFLOW = ("AIRFLOW_USERNAME", "AIRFLOW_PASSWORD")
"""Tasks run whatever code a DAG holds: it has no use for the password of an Admin."""

_SETS_THE_SAME = ("", "_CMD", "_SECRET")
"""Suffixes by which Airflow lets a variable name a value, a command or a secret."""


def airflow_environment(
    settings: AirflowSettings,
    values: Mapping[str, str],
    keys: Mapping[str, Path],
    *,
    json_logs: bool,
) -> dict[str, str]:
    """The whole environment of an Airflow process.

    `values`: all variables that the host was given; what they say wins over our defaults.
    `keys`: the files of the shared secrets by variable.
    `json_logs`: JSON lines rather than lines for a terminal.
    """
    given = {name: text for name, text in values.items() if name not in _KEPT_FROM_AIRFLOW}
    defaults = _defaults(settings, json_logs=json_logs)
    environment = {name: text for name, text in defaults.items() if not _is_given(name, given)}
    # Airflow reads them by a command: its environment is that of every task, and soon in a log.
    environment |= {
        f"{name}_CMD": f"cat {shlex.quote(str(file))}"
        for name, file in keys.items()
        if not _is_given(name, given)
    }
    environment |= given | _exact(settings)
    asynchronous = "AIRFLOW__DATABASE__SQL_ALCHEMY_CONN_ASYNC"
    if not _is_given(asynchronous, given):
        environment |= _asynchronous_connection(asynchronous, environment)
    return environment


def _is_given(name: str, given: Mapping[str, str]) -> bool:
    return any(name + suffix in given for suffix in _SETS_THE_SAME)


def _exact(settings: AirflowSettings) -> dict[str, str]:
    """Variables that hold what the settings say, whether it was given or is their default."""
    variables = {
        "AIRFLOW_HOME": str(settings.airflow_home),
        "AIRFLOW__API__HOST": settings.airflow__api__host,
        "AIRFLOW__API__PORT": str(settings.airflow__api__port),
        "API_SERVER_URL": settings.api_server_url,
        "MLFLOW_TRACKING_URI": settings.mlflow_tracking_uri,
        "TRAINING_MARGIN": str(settings.training_margin),
        "TRAINING_MAX_BYTES": str(settings.training_max_bytes),
        "TRAINING_MODEL_NAME": settings.training_model_name,
        "TRAINING_TARGET": settings.training_target,
    }
    if settings.training_data_uri:
        variables["TRAINING_DATA_URI"] = settings.training_data_uri
    return variables


def _defaults(settings: AirflowSettings, *, json_logs: bool) -> dict[str, str]:
    home = settings.airflow_home
    own = local_url(settings.airflow__api__host, settings.airflow__api__port)
    return {
        "AIRFLOW__API__BASE_URL": settings.airflow_public_url,
        "AIRFLOW__API_AUTH__JWT_ISSUER": settings.airflow_public_url,
        "AIRFLOW__CORE__AUTH_MANAGER": FAB_AUTH_MANAGER,
        "AIRFLOW__CORE__EXECUTION_API_SERVER_URL": f"{own}/execution/",
        "AIRFLOW__CORE__EXECUTOR": "LocalExecutor",
        "AIRFLOW__CORE__LOAD_EXAMPLES": "False",
        # Each costs a forked process from the start; train_model has three candidates.
        "AIRFLOW__CORE__PARALLELISM": "3",
        "AIRFLOW__CORE__PLUGINS_FOLDER": str(PLUGINS),
        CONNECTION: f"sqlite:///{home}/airflow.db",
        "AIRFLOW__DAG_PROCESSOR__BUNDLE_REFRESH_CHECK_INTERVAL": "2",
        "AIRFLOW__DAG_PROCESSOR__DAG_BUNDLE_CONFIG_LIST": _bundles(settings),
        # By default below /tmp, where another user may have made it first.
        "AIRFLOW__DAG_PROCESSOR__DAG_BUNDLE_STORAGE_PATH": str(home / "bundles"),
        # A changed file is parsed at the next refresh; this is for one that did not change.
        "AIRFLOW__DAG_PROCESSOR__MIN_FILE_PROCESS_INTERVAL": "60",
        "AIRFLOW__DAG_PROCESSOR__PARSING_PROCESSES": "1",
        "AIRFLOW__DAG_PROCESSOR__PRINT_STATS_INTERVAL": "0",
        "AIRFLOW__DAG_PROCESSOR__REFRESH_INTERVAL": "5",
        "AIRFLOW__LOGGING__BASE_LOG_FOLDER": str(home / "logs"),
        # Its warnings are about itself, and come a second time without any form.
        "AIRFLOW__LOGGING__FAB_LOGGING_LEVEL": "ERROR",
        "AIRFLOW__LOGGING__JSON_LOGS": str(json_logs),
        # Otherwise it writes six lines at each refresh, whether it found anything or not.
        "AIRFLOW__LOGGING__NAMESPACE_LEVELS": "airflow.dag_processing.manager=WARNING",
        # After a crash, tasks that nobody runs any more start again within a minute, not five.
        "AIRFLOW__SCHEDULER__ORPHANED_TASKS_CHECK_INTERVAL": "30",
        # How long an ended task waits until the next one starts.
        "AIRFLOW__SCHEDULER__SCHEDULER_IDLE_SLEEP_TIME": "0.25",
        "MLFLOW_DISABLE_TELEMETRY": "true",
    }


def _bundles(settings: AirflowSettings) -> str:
    folders = {"tripod": SHIPPED_DAGS, "own": settings.airflow_dags_folder}
    return json.dumps(
        [
            {"name": name, "classpath": LOCAL_BUNDLE, "kwargs": {"path": str(folder)}}
            for name, folder in folders.items()
        ]
    )


def _asynchronous_connection(name: str, environment: Mapping[str, str]) -> dict[str, str]:
    """Psycopg, which is on board, for what Airflow would otherwise want asyncpg for."""
    scheme, separator, rest = environment.get(CONNECTION, "").partition("://")
    if separator and scheme.split("+")[0] == "postgresql":
        return {name: f"postgresql+psycopg://{rest}"}
    return {}
