"""Keys of a real Airflow are replaced while tasks run: none is lost, all stays readable."""

import os
import subprocess
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
import sqlalchemy as sa
from cryptography.fernet import Fernet, InvalidToken

from airflow_host import draining
from airflow_host.secret_keys import KEYS
from hostkit.errors import HostError
from tests.airflow_host.host import Host

FERNET = "AIRFLOW__CORE__FERNET_KEY"
TOKENS = "AIRFLOW__API_AUTH__JWT_SECRET"

DAG = '''\
"""Waits for a file; then reads a variable and a connection."""

import time
from pathlib import Path

from airflow.sdk import Connection, Variable, dag, get_current_context, task


@dag(schedule=None, is_paused_upon_creation=False, params={"file": ""})
def patient():
    @task
    def wait() -> None:
        file = Path(get_current_context()["params"]["file"])
        while not file.exists():
            time.sleep(0.1)

    @task
    def read() -> list[str]:
        return [Variable.get("colour"), Connection.get("shop").password]

    wait() >> read()


patient()
'''
DAG_RUNS = "/api/v2/dags/patient/dagRuns"


@pytest.fixture(scope="module")
def host(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Host]:
    host = Host(tmp_path_factory.mktemp("airflow"))
    host.dags.mkdir()
    (host.dags / "patient.py").write_text(DAG)
    try:
        host.serve("api-server", "scheduler", "dag-processor")
        host.wait_until_up()
        with host.client() as client:
            host.wait_for(lambda: client.get("/api/v2/dags/patient").is_success)
        yield host
    finally:
        host.close()


@pytest.fixture
def airflow(host: Host) -> Iterator[httpx.Client]:
    with host.client() as client:
        yield client


def test_keys_are_replaced_while_a_dag_runs(host: Host, airflow: httpx.Client) -> None:
    _keep_values(airflow)
    former = _key(host, FERNET)
    first, second = host.folder / "first", host.folder / "second"
    _start(airflow, "first", first)
    host.wait_for(lambda: _task(airflow, "first", "wait")["state"] == "running")

    done = _in_background(host, "drain")
    host.wait_for((host.home / "draining.heard").exists)
    _start(airflow, "second", second)
    host.wait_for(lambda: _task(airflow, "second", "wait")["state"] == "scheduled")
    assert done == []  # It waits for the first.
    first.touch()
    host.wait_for(lambda: done)
    assert done[0].returncode == 0, done[0].stderr
    assert _task(airflow, "first", "wait")["state"] == "success"
    assert _task(airflow, "second", "wait")["state"] == "scheduled"

    new = KEYS[FERNET]()
    _write(host, FERNET, f"{new},{former}")
    _write(host, TOKENS, KEYS[TOKENS]())
    # All at once: tasks start, and ask the api-server again and again until it is there.
    host.stop("api-server", "scheduler")
    host.serve("api-server", "scheduler")
    host.wait_until_up()
    second.touch()
    for run in ("first", "second"):
        host.wait_for(lambda run=run: _state(airflow, run) in ("success", "failed"))  # type: ignore[misc]
        assert _state(airflow, run) == "success"
        for task in ("wait", "read"):
            assert _task(airflow, run, task)["try_number"] == 1
        assert _value(airflow, run) == ["red", "a password"]
    assert not (host.home / "draining").exists()

    assert host.run("encrypt-anew").returncode == 0
    for value, text in _stored(host).items():
        assert Fernet(new).decrypt(value.encode()).decode() == text
        with pytest.raises(InvalidToken):
            Fernet(former).decrypt(value.encode())


def test_who_asked_for_silence_and_died_keeps_nothing_shut(
    host: Host, airflow: httpx.Client
) -> None:
    asked = host.home / "draining"
    asked.touch()
    file = host.folder / "after"
    file.touch()
    _start(airflow, "after", file)
    host.wait_for((host.home / "draining.heard").exists)
    assert _task(airflow, "after", "wait")["state"] in (None, "scheduled")
    _make_older(asked, draining.LEASE_SECONDS)
    host.wait_for(lambda: _state(airflow, "after") == "success")


def test_who_is_tired_of_waiting_lets_tasks_start_again(host: Host, airflow: httpx.Client) -> None:
    file = host.folder / "tired"
    _start(airflow, "tired", file)
    host.wait_for(lambda: _task(airflow, "tired", "wait")["state"] == "running")
    engine = sa.create_engine(f"sqlite:///{host.home}/airflow.db")
    with pytest.raises(HostError, match="1 tasks still run after"):
        draining.drain(host.home, engine, lambda _: None, seconds=1)
    engine.dispose()
    assert not draining.is_asked_for(host.home)
    file.touch()
    host.wait_for(lambda: _state(airflow, "tired") == "success")


def _keep_values(airflow: httpx.Client) -> None:
    variable = {"key": "colour", "value": "red"}
    airflow.post("/api/v2/variables", json=variable).raise_for_status()
    connection = {"connection_id": "shop", "conn_type": "http", "password": "a password"}
    airflow.post("/api/v2/connections", json=connection).raise_for_status()


def _key(host: Host, name: str) -> str:
    return (host.home / "secrets" / name).read_text()


def _write(host: Host, name: str, key: str) -> None:
    (host.home / "secrets" / name).write_text(key)


def _stored(host: Host) -> dict[str, str]:
    """What is encrypted in the database, and what it should be."""
    engine = sa.create_engine(f"sqlite:///{host.home}/airflow.db")
    with engine.connect() as connection:
        variable = connection.scalar(sa.text("SELECT val FROM variable"))
        password = connection.scalar(sa.text("SELECT password FROM connection"))
    engine.dispose()
    return {str(variable): "red", str(password): "a password"}


def _start(airflow: httpx.Client, run: str, file: Path) -> None:
    order = {"dag_run_id": run, "logical_date": None, "conf": {"file": str(file)}}
    airflow.post(DAG_RUNS, json=order).raise_for_status()


def _state(airflow: httpx.Client, run: str) -> str:
    return str(airflow.get(f"{DAG_RUNS}/{run}").json()["state"])


def _task(airflow: httpx.Client, run: str, task: str) -> dict[str, Any]:
    found: dict[str, Any] = airflow.get(f"{DAG_RUNS}/{run}/taskInstances/{task}").json()
    return found


def _value(airflow: httpx.Client, run: str) -> list[str]:
    path = f"{DAG_RUNS}/{run}/taskInstances/read/xcomEntries/return_value"
    found: list[str] = airflow.get(path).json()["value"]
    return found


def _in_background(host: Host, *command: str) -> list[subprocess.CompletedProcess[str]]:
    """Where the outcome of a command will be."""
    done: list[subprocess.CompletedProcess[str]] = []
    threading.Thread(target=lambda: done.append(host.run(*command)), daemon=True).start()
    return done


def _make_older(path: Path, seconds: float) -> None:
    state = path.stat()
    os.utime(path, (state.st_atime - seconds, state.st_mtime - seconds))
