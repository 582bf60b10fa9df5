"""The steps to Airflow, by its REST API: login, release, heartbeats, and a run of a DAG."""

import secrets
import time
from dataclasses import dataclass
from functools import partial
from typing import Any

import httpx

from hostkit.doctor.connection import Target, connection_steps, server_error
from hostkit.doctor.mlflow import known_release
from hostkit.doctor.steps import STEP_SECONDS, Fault, NothingToCheck, Step, Walk
from hostkit.servers import document

MAJOR = 3
"""The releases of Airflow that Tripod knows."""

DAG = "tripod_doctor"
TRAINING_DAG = "train_model"
RUN_SECONDS = 60.0
SECONDS_BETWEEN_LOOKS = 0.25

_UNITS = {"dag_processor": "airflow-host-dag-processor", "metadatabase": "airflow-host-api-server"}


@dataclass(frozen=True)
class Account:
    """Whom this host logs in as.

    `username_setting`, `password_setting`: the variables with file and line.
    """

    username: str
    password: str
    username_setting: str
    password_setting: str


def walk(target: Target, account: Account) -> Walk:
    """All steps to Airflow."""
    return Walk(
        target.link.name,
        target.description,
        (
            *connection_steps(target),
            Step("version", partial(_version, target)),
            Step("login", partial(_login, target, account), seconds=2 * STEP_SECONDS),
            Step("heartbeats", partial(_heartbeats, target)),
            Step("run", partial(_run, target, account), seconds=RUN_SECONDS + 4 * STEP_SECONDS),
        ),
    )


def _version(target: Target) -> str:
    version = str(document(target.ask("GET", "/api/v2/version")).get("version", ""))
    return known_release(target, version, MAJOR)


def _login(target: Target, account: Account) -> str:
    response = _as(target, _token(target, account), "GET", "dags?limit=1")
    if response.status_code == httpx.codes.UNAUTHORIZED:
        raise Fault(
            f"Airflow let {account.username} in, and then refused the token that it had just made"
            f" ({response.status_code})",
            "The clock of Airflow's server jumps, a proxy does not pass the Authorization header"
            " on, or Airflow's processes do not share their keys.",
            "On the server of Airflow: 'timedatectl'; the key AIRFLOW__API_AUTH__JWT_SECRET must"
            " be the same for all its units: 'systemctl restart airflow-host.target'.",
        )
    if response.status_code == httpx.codes.FORBIDDEN:
        raise _lacks_a_role(account, "see DAGs")
    if not response.is_success:
        raise server_error(target.address, response)
    return f"as {account.username}"


def _token(target: Target, account: Account) -> str:
    response = target.ask(
        "POST", "/auth/token", json={"username": account.username, "password": account.password}
    )
    if response.is_server_error:
        raise server_error(target.address, response)
    token = document(response).get("access_token")
    if isinstance(token, str):
        return token
    raise Fault(
        f"Airflow does not let {account.username} log in ({response.status_code})",
        "The password is another one there, or no active user has this name.",
        f"Make {account.username_setting} and {account.password_setting} the same as"
        f" AIRFLOW_API_USERNAME and AIRFLOW_API_PASSWORD on the server of Airflow"
        f" ({target.server.env_file}, or a file below /etc/airflow-host/credentials); a new"
        " password takes effect there with 'systemctl restart airflow-host.target'."
        " 'airflow-host doctor' there tells of the user.",
    )


def _lacks_a_role(account: Account, what: str) -> Fault:
    return Fault(
        f"Airflow does not let {account.username} {what} (403)",
        "The user is known, but none of its roles allows this.",
        f"Name another user in {account.username_setting}: on the API server the"
        " AIRFLOW_API_USERNAME of Airflow's server, there one with the role Op or Admin.",
    )


def _as(target: Target, token: str, method: str, path: str, **options: Any) -> httpx.Response:
    return target.ask(
        method, f"/api/v2/{path}", headers={"Authorization": f"Bearer {token}"}, **options
    )


def _heartbeats(target: Target) -> str:
    """Whether all parts of Airflow have told of themselves in the last seconds."""
    parts = document(target.ask("GET", target.server.health_path))
    ill = sorted(
        name
        for name, part in parts.items()
        if isinstance(part, dict) and part.get("status") not in ("healthy", None)
    )
    if not ill:
        return ", ".join(sorted(parts))
    beats = "; ".join(_last_beat(name, parts[name]) for name in ill)
    units = " ".join(_UNITS.get(name, f"airflow-host-{name}") for name in ill)
    raise Fault(
        f"{', '.join(ill)}: {beats}",
        "That process of Airflow is stopped, hangs, or cannot write to the database.",
        f"On the server of Airflow: 'systemctl restart {units}' and 'journalctl -u"
        f" {units.partition(' ')[0]}'.",
    )


def _last_beat(name: str, part: dict[str, Any]) -> str:
    beat = part.get(f"latest_{name}_heartbeat")
    return f"last heartbeat {beat}" if beat else "no heartbeat yet"


def _run(target: Target, account: Account) -> str:
    """Has a DAG run that does nothing, waits for it, and deletes it."""
    token = _token(target, account)
    run = f"doctor-{secrets.token_hex(8)}"
    start = time.monotonic()
    _triggered(target, account, token, run)
    try:
        state = _end(target, token, run, start + RUN_SECONDS)
    finally:
        _as(target, token, "DELETE", f"dags/{DAG}/dagRuns/{run}")
    seconds = time.monotonic() - start
    if state == "success":
        return f"{DAG} ran in {seconds:.1f} s"
    if state == "failed":
        raise Fault(
            f"a run of {DAG} failed",
            "Airflow starts tasks, but they cannot do their work: they may not reach the"
            " api-server at AIRFLOW__CORE__EXECUTION_API_SERVER_URL, or its keys are not theirs.",
            "On the server of Airflow: 'journalctl -u airflow-host-scheduler'.",
        )
    raise _unfinished(target, token, state, seconds)


def _may_only_train(target: Target, token: str) -> bool:
    """Whether this is the API server's account, for which the doctor's own DAG is not there."""
    # It lacks what a run needs, so none is started; but who may not start one is told that first.
    response = _as(target, token, "POST", f"dags/{TRAINING_DAG}/dagRuns", json={})
    return response.status_code == httpx.codes.UNPROCESSABLE_ENTITY


def _triggered(target: Target, account: Account, token: str, run: str) -> None:
    response = _as(
        target, token, "POST", f"dags/{DAG}/dagRuns", json={"dag_run_id": run, "logical_date": None}
    )
    if response.is_success:
        return
    if response.status_code == httpx.codes.FORBIDDEN:
        if _may_only_train(target, token):
            raise NothingToCheck(
                f"{account.username} may start {TRAINING_DAG} and nothing else; whether Airflow"
                " runs tasks, 'airflow-host doctor' tells on its server"
            )
        raise _lacks_a_role(account, "trigger DAGs")
    if response.status_code == httpx.codes.NOT_FOUND:
        raise Fault(
            f"Airflow has no DAG {DAG}",
            "Its DAG processor has not read the DAGs yet, or it is of another release of Tripod.",
            "On the server of Airflow: 'systemctl status airflow-host-dag-processor'; if it was"
            " just started, wait a minute.",
        )
    raise server_error(target.address, response)


def _end(target: Target, token: str, run: str, deadline: float) -> str:
    """The state of a run once it has ended, or when time is up."""
    while True:
        state = str(document(_as(target, token, "GET", f"dags/{DAG}/dagRuns/{run}")).get("state"))
        if state in ("success", "failed") or time.monotonic() > deadline:
            return state
        time.sleep(SECONDS_BETWEEN_LOOKS)


def _unfinished(target: Target, token: str, state: str, seconds: float) -> Exception:
    running = _as(target, token, "GET", "dags/~/dagRuns/~/taskInstances?state=running&limit=1")
    busy = document(running).get("total_entries", 0)
    if busy:
        return NothingToCheck(
            f"{DAG} was still {state} after {seconds:.0f} s: {busy} other tasks keep Airflow busy"
        )
    return Fault(
        f"a run of {DAG} was still {state} after {seconds:.0f} s",
        "The scheduler does not start tasks, though it says that it is alive.",
        "On the server of Airflow: 'systemctl restart airflow-host-scheduler' and 'journalctl -u"
        " airflow-host-scheduler'.",
    )
