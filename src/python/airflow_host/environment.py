"""The environment that Airflow's processes run in, worked out from the host's settings."""

import json
import shlex
from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType

from airflow_host.secret_keys import SIGNING_KEY
from airflow_host.settings import ComponentSettings
from airflow_host.task_logs import default_folder
from airflow_host.training.settings import TrainingDefaults
from hostkit.network import local_url

PACKAGE = Path(__file__).parent
SHIPPED_DAGS = PACKAGE / "dags"
PLUGINS = PACKAGE / "plugins"

CONNECTION = "AIRFLOW__DATABASE__SQL_ALCHEMY_CONN"
"""Where the database is; Airflow's own variable."""

MLFLOW_PASSWORD = "MLFLOW_TRACKING_PASSWORD"  # noqa: S105 (its name)
"""The only place where MLflow's client looks for it is the environment."""

MAX_BODY_BYTES = "AIRFLOW_MAX_BODY_BYTES"
"""Where the api-server's plugin finds what the setting says."""

ASYNCHRONOUS_CONNECTION = f"{CONNECTION}_ASYNC"

AUTH_MANAGER = "airflow_host.auth_manager.TripodFabAuthManager"
LOCAL_BUNDLE = "airflow.dag_processing.bundles.local.LocalDagBundle"

_KEPT_FROM_AIRFLOW = frozenset(
    {
        # Tasks run whatever code a DAG holds: it has no use for the passwords of others.
        "AIRFLOW_USERNAME",
        "AIRFLOW_PASSWORD",
        # It goes by file: an environment is soon in a log.
        SIGNING_KEY,
        "AIRFLOW_API_USERNAME",
        "AIRFLOW_API_PASSWORD",
        # The watcher talks to systemd; a task must not.
        "NOTIFY_SOCKET",
        "WATCHDOG_PID",
        "WATCHDOG_USEC",
    }
)

_SETS_THE_SAME = ("", "_CMD", "_SECRET")
"""Suffixes by which Airflow lets a variable name a value, a command or a secret."""


def airflow_environment(
    settings: ComponentSettings,
    values: Mapping[str, str],
    keys: Mapping[str, Path],
    *,
    credentials: Mapping[str, Path] = MappingProxyType({}),
    json_logs: bool,
) -> dict[str, str]:
    """The whole environment of an Airflow process.

    `values`: all variables that the host was given; what they say wins over our defaults.
    `keys`: the files of the shared secrets by variable.
    `credentials`: the files of those variables that are credentials. Airflow reads its own options
    from there. The keys of an object store are not among them: the libraries that need them know
    only the environment.
    `json_logs`: JSON lines rather than lines for a terminal.
    """
    files = {name: file for name, file in credentials.items() if name.startswith("AIRFLOW__")}
    given = {
        name: text
        for name, text in values.items()
        if name not in _KEPT_FROM_AIRFLOW and name not in files
        # The process reads it: what it was started with, others can see.
        and not (name == MLFLOW_PASSWORD and name in credentials)
    }
    # Airflow reads them by a command: its environment is that of every task, and soon in a log.
    commands = {
        name: shlex.join(["cat", str(file)])
        for name, file in keys.items()
        if name.startswith("AIRFLOW__")
    }
    commands |= {name: _command(file) for name, file in files.items()}
    given |= {
        f"{name}_CMD": command for name, command in commands.items() if not _is_given(name, given)
    }
    if not _is_given(ASYNCHRONOUS_CONNECTION, given):
        given |= _asynchronous_connection(given.get(CONNECTION), files.get(CONNECTION))
    defaults = _defaults(settings, json_logs=json_logs) | _tls(settings, given)
    environment = {name: text for name, text in defaults.items() if not _is_given(name, given)}
    environment |= given | _exact(settings)
    signing_key = credentials.get(SIGNING_KEY) or keys.get(SIGNING_KEY)
    return environment | ({f"{SIGNING_KEY}_FILE": str(signing_key)} if signing_key else {})


def _command(file: Path, *edits: str) -> str:
    """What prints a credential, without the newline at its end that an editor puts there."""
    expressions = [word for edit in (r"s/\n*$//", *edits) for word in ("-e", edit)]
    return shlex.join(["sed", "-E", "-z", *expressions, str(file)])


def _is_given(name: str, given: Mapping[str, str]) -> bool:
    return any(name + suffix in given for suffix in _SETS_THE_SAME)


def _exact(settings: ComponentSettings) -> dict[str, str]:
    """Variables that hold what the settings say, whether it was given or is their default."""
    return {
        "AIRFLOW_HOME": str(settings.airflow_home),
        "AIRFLOW__API__HOST": settings.airflow__api__host,
        "AIRFLOW__API__PORT": str(settings.airflow__api__port),
        "FORWARDED_ALLOW_IPS": settings.forwarded_allow_ips,  # Uvicorn reads it.
        "API_SERVER_URL": settings.api_server_url,
        MAX_BODY_BYTES: str(settings.airflow_max_body_bytes),
        "MLFLOW_TRACKING_URI": settings.mlflow_tracking_uri,
        **_mlflow_account(settings),
        **_training(settings),
    }


def _tls(settings: ComponentSettings, given: Mapping[str, str]) -> dict[str, str]:
    """What MLflow's client reads in tasks: it knows none of our variables."""
    found = {}
    if settings.tls_certificate_file is not None:
        found["MLFLOW_TRACKING_CLIENT_CERT_PATH"] = str(settings.tls_certificate_file)
    # The other variable would lose against this one.
    if settings.ssl_cert_file is not None and "REQUESTS_CA_BUNDLE" not in given:
        found["MLFLOW_TRACKING_SERVER_CERT_PATH"] = str(settings.ssl_cert_file)
    return found


def of_mlflows_client(settings: ComponentSettings, given: Mapping[str, str]) -> dict[str, str]:
    """What MLflow's client reads where it is called by a command, not by a task.

    `given`: the variables of the process.
    """
    password = settings.mlflow_tracking_password
    secret = {MLFLOW_PASSWORD: password.get_secret_value()} if password else {}
    return {**_mlflow_account(settings), **secret, **_tls(settings, given)}


def _mlflow_account(settings: ComponentSettings) -> dict[str, str]:
    """Whom tasks call MLflow as."""
    if settings.mlflow_tracking_password is None:
        return {}
    return {"MLFLOW_TRACKING_USERNAME": settings.mlflow_tracking_username}


def _training(settings: TrainingDefaults) -> dict[str, str]:
    values = {name: getattr(settings, name.lower()) for name in TrainingDefaults.variables()}
    return {
        name: ",".join(map(str, value)) if isinstance(value, tuple) else str(value)
        for name, value in values.items()
        if value is not None
    }


def _defaults(settings: ComponentSettings, *, json_logs: bool) -> dict[str, str]:
    home = settings.airflow_home
    own = local_url(settings.airflow__api__host, settings.airflow__api__port)
    return {
        "AIRFLOW__API__BASE_URL": settings.airflow_public_url,
        "AIRFLOW__API_AUTH__JWT_ISSUER": settings.airflow_public_url,
        "AIRFLOW__CORE__AUTH_MANAGER": AUTH_MANAGER,
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
        # Behind a proxy that speaks TLS, no browser shall send it without.
        "AIRFLOW__FAB__COOKIE_SECURE": str(settings.airflow_public_url.startswith("https:")),
        "AIRFLOW__LOGGING__BASE_LOG_FOLDER": str(default_folder(settings)),
        # Its warnings are about itself, and come a second time without any form.
        "AIRFLOW__LOGGING__FAB_LOGGING_LEVEL": "ERROR",
        "AIRFLOW__LOGGING__JSON_LOGS": str(json_logs),
        # Otherwise it writes six lines at each refresh, whether it found anything or not.
        "AIRFLOW__LOGGING__NAMESPACE_LEVELS": "airflow.dag_processing.manager=WARNING",
        # After a crash, tasks that nobody runs any more start again within a minute, not five.
        "AIRFLOW__SCHEDULER__ORPHANED_TASKS_CHECK_INTERVAL": "30",
        # How long an ended task waits until the next one starts.
        "AIRFLOW__SCHEDULER__SCHEDULER_IDLE_SLEEP_TIME": "0.25",
        # A task asks again until the api-server is back, whose restart takes half a minute; by
        # default it may give up, and so fail, after eight seconds.
        "AIRFLOW__WORKERS__EXECUTION_API_RETRIES": "30",
        "AIRFLOW__WORKERS__EXECUTION_API_RETRY_WAIT_MAX": "5",
        "MLFLOW_DISABLE_TELEMETRY": "true",
    }


def _bundles(settings: ComponentSettings) -> str:
    folders = {"tripod": SHIPPED_DAGS, "own": settings.airflow_dags_folder}
    return json.dumps(
        [
            {"name": name, "classpath": LOCAL_BUNDLE, "kwargs": {"path": str(folder)}}
            for name, folder in folders.items()
        ]
    )


def _asynchronous_connection(connection: str | None, file: Path | None) -> dict[str, str]:
    """Psycopg, which is on board, for what Airflow would otherwise want asyncpg for."""
    text = connection or (file.read_text(encoding="utf-8") if file else "")
    scheme, separator, rest = text.partition("://")
    if not separator or scheme.split("+")[0] != "postgresql":
        return {}
    if connection is None and file:
        command = _command(file, r"s/^postgresql(\+[a-z0-9]+)?:/postgresql+psycopg:/")
        return {f"{ASYNCHRONOUS_CONNECTION}_CMD": command}
    return {ASYNCHRONOUS_CONNECTION: f"postgresql+psycopg://{rest}"}
