"""How the secrets of the Airflow host are replaced without losing a task."""

import secrets

from airflow_host.secret_keys import KEYS, SIGNING_KEY
from hostkit.rotation import Change, Rotation, Server, Step, write

API_SERVER = "airflow-host-api-server.service"
SCHEDULER = "airflow-host-scheduler.service"

_FERNET = "AIRFLOW__CORE__FERNET_KEY"
_SESSIONS = "AIRFLOW__API__SECRET_KEY"
_TOKENS = "AIRFLOW__API_AUTH__JWT_SECRET"


def password() -> str:
    """A new one."""
    return secrets.token_urlsafe(24)


def _drain(server: Server) -> None:
    if server.is_running(SCHEDULER):
        server.run("drain")


def _restart_without_tasks(server: Server, change: Change) -> None:
    # One step: cut off in between, it has to be made sure again that nothing runs.
    _drain(server)
    server.restart(server.users(change.name))


def _switch_without_tasks(server: Server, change: Change) -> None:
    """For a key that those who run already must not see changed under one another."""
    _drain(server)
    write(server, change)
    server.restart(server.users(change.name))


def _write_both(server: Server, change: Change) -> None:
    """Airflow encrypts with the first and reads with both."""
    server.write(change.name, ",".join(key for key in (change.new, change.former) if key))


def _encrypt_anew(server: Server, change: Change) -> None:  # noqa: ARG001 (all steps get it)
    server.run("encrypt-anew")


def _restart_api_server(server: Server, change: Change) -> None:  # noqa: ARG001
    server.restart((API_SERVER,))


_SWITCHED_WITHOUT_TASKS = (
    Step("let tasks end, write it, restart all parts of Airflow", _switch_without_tasks),
)

ROTATIONS = {
    _FERNET: Rotation(
        "encrypts connections and variables in Airflow's database",
        KEYS[_FERNET],
        (
            Step("write the new key before the former one", _write_both),
            Step("let tasks end, restart all parts of Airflow", _restart_without_tasks),
            Step("encrypt all values anew", _encrypt_anew),
            # What runs goes on with both, and forgets the former one at its next start.
            Step("write the new key alone", write),
        ),
    ),
    _SESSIONS: Rotation(
        "signs the sessions of browsers",
        KEYS[_SESSIONS],
        (Step("write it", write), Step("restart the api-server", _restart_api_server)),
        effect="Who is logged in to Airflow with a browser has to log in again.",
    ),
    _TOKENS: Rotation(
        "signs the tokens of tasks and of clients of the REST API",
        KEYS[_TOKENS],
        _SWITCHED_WITHOUT_TASKS,
        effect="All clients and browsers have to log in again; the API server does so by itself.",
    ),
    "AIRFLOW_PASSWORD": Rotation("the password of Airflow's first user, an Admin", password),
    "AIRFLOW_API_PASSWORD": Rotation(
        "the password by which the API server logs in to Airflow",
        password,
        effect="The API server stays logged in for as long as its token is good, 24 hours at most;"
        " from then on, or from its next start, it answers 503 to trainings, and predicts on.",
        elsewhere="Hand it over to the API server now: 'sudo cat"
        " /etc/airflow-host/credentials/AIRFLOW_API_PASSWORD' here, and there 'sudo api-host"
        " rotate AIRFLOW_PASSWORD --stdin'.",
    ),
    SIGNING_KEY: Rotation(
        "signs the models that are trained here",
        KEYS[SIGNING_KEY],
        _SWITCHED_WITHOUT_TASKS,
        effect="The API server serves on, and refuses what is signed from now on until it knows the"
        " new key.",
        elsewhere="Let the API server know it now: 'sudo airflow-host signing-key' here, into a"
        " second file there that MODEL_PUBLIC_KEYS names too, and 'sudo systemctl reload"
        " api-host'.",
    ),
    "MLFLOW_TRACKING_PASSWORD": Rotation(
        "the password by which trainings log in to MLflow", steps=_SWITCHED_WITHOUT_TASKS
    ),
    "AIRFLOW__DATABASE__SQL_ALCHEMY_CONN": Rotation(
        "the address of Airflow's database, with its password", steps=_SWITCHED_WITHOUT_TASKS
    ),
    "AWS_ACCESS_KEY_ID": Rotation(
        "the name of a key of an object store", steps=_SWITCHED_WITHOUT_TASKS
    ),
    "AWS_SECRET_ACCESS_KEY": Rotation("a key of an object store", steps=_SWITCHED_WITHOUT_TASKS),
}
