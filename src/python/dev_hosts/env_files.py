"""The env file of each host in dev mode: made once, then kept right in addresses and paths."""

from collections.abc import Mapping
from pathlib import Path

import dotenv

from dev_hosts.ports import LOOPBACK, Ports
from hostkit.files import write_atomically

_HEADING = """\
# Settings of the {name} host in dev mode.
# Addresses and paths are set at each start; every other line is yours to change or add.
"""


def urls(ports: Ports) -> dict[str, str]:
    """The base URL of each host, by the host's name."""
    return {
        "mlflow": f"http://{LOOPBACK}:{ports.mlflow}",
        "airflow": f"http://{LOOPBACK}:{ports.airflow}",
        "api": f"http://{LOOPBACK}:{ports.api}",
    }


def write_env_files(state: Path, ports: Ports) -> dict[str, Path]:
    """Makes or updates the three env files, and the folders that they name, below `state`."""
    base = urls(ports)
    mlflow, airflow, api = (state / name for name in ("mlflow", "airflow", "api"))
    for folder in (mlflow / "artifacts", airflow / "dags", airflow / "tables", api):
        folder.mkdir(parents=True, exist_ok=True)
    files = {name: state / name / "env" for name in base}
    _write(
        files["mlflow"],
        {
            "MLFLOW_HOST": LOOPBACK,
            "MLFLOW_PORT": str(ports.mlflow),
            "MLFLOW_PUBLIC_URL": base["mlflow"],
            "MLFLOW_BACKEND_STORE_URI": f"sqlite:///{mlflow / 'mlflow.db'}",
            "MLFLOW_ARTIFACTS_DESTINATION": str(mlflow / "artifacts"),
        },
    )
    _write(
        files["airflow"],
        {
            "AIRFLOW__API__HOST": LOOPBACK,
            "AIRFLOW__API__PORT": str(ports.airflow),
            "AIRFLOW_PUBLIC_URL": base["airflow"],
            "MLFLOW_TRACKING_URI": base["mlflow"],
            "API_SERVER_URL": base["api"],
            "AIRFLOW_HOME": str(airflow),
            "AIRFLOW_DAGS_FOLDER": str(airflow / "dags"),
        },
        defaults={
            "AIRFLOW_USERNAME": "airflow",
            "AIRFLOW_PASSWORD": "airflow",
            "AIRFLOW_API_USERNAME": "api",
            "AIRFLOW_API_PASSWORD": "api",
            "TRAINING_DATA_FOLDERS": str(airflow / "tables"),
        },
    )
    credentials = airflow_credentials(state, "AIRFLOW_API")
    # A champion of an older state is not signed: there the API goes on to serve any.
    signed = {} if files["api"].exists() else {"MODEL_PUBLIC_KEYS": str(public_key(state))}
    _write(
        files["api"],
        {
            "MLFLOW_TRACKING_URI": base["mlflow"],
            "AIRFLOW_BASE_URL": base["airflow"],
            "AIRFLOW_USERNAME": credentials[0],
            "AIRFLOW_PASSWORD": credentials[1],
            "API_HOST": LOOPBACK,
            "API_PORT": str(ports.api),
            "API_GRPC_PORT": str(ports.grpc),
            "STATE_DIRECTORY": str(api),
        },
        defaults={
            # For /invocations, which names no model, when there are several.
            "MODEL_NAME": "iris",
            # All that this machine asks comes from one address, which is one caller.
            "API_RATE_REQUESTS": "100000",
            **signed,
        },
    )
    return files


def public_key(state: Path) -> Path:
    """The file with the key of the models that the API serves."""
    return state / "api" / "airflow.pub"


def airflow_credentials(state: Path, prefix: str = "AIRFLOW") -> tuple[str, str]:
    """A user and the password of the Airflow host, as its env file has them."""
    values = dotenv.dotenv_values(state / "airflow" / "env", interpolate=False)
    return values[f"{prefix}_USERNAME"] or "", values[f"{prefix}_PASSWORD"] or ""


def _write(
    path: Path, values: Mapping[str, str], defaults: Mapping[str, str] | None = None
) -> None:
    if not path.exists():
        write_atomically(path, _HEADING.format(name=path.parent.name), mode=0o600)
    present = dotenv.dotenv_values(path, interpolate=False)
    missing = {name: text for name, text in (defaults or {}).items() if not present.get(name)}
    for name, text in {**values, **missing}.items():
        if present.get(name) != text:
            dotenv.set_key(path, name, text, quote_mode="auto")
