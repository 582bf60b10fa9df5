"""All four processes of a real Airflow, started once from an empty folder."""

import base64
import json
import re
import sqlite3
import stat
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.airflow_host.host import COMPONENTS, Host
from tests.docs.pages import documented_metrics, shown_metrics
from tests.hostile_orders import REFUSED

PARTS = {"metadatabase", "scheduler", "triggerer", "dag_processor"}
SECONDS_UNTIL_A_NEW_FILE_IS_SEEN = 30.0

DAG = '''\
"""A DAG of the user's own."""

import os

from airflow.sdk import dag, task


@dag(schedule=None, is_paused_upon_creation=False)
def dropped_in():
    @task
    def look() -> dict[str, str]:
        print("looking around")
        return dict(os.environ)

    look()


dropped_in()
'''


@pytest.fixture(scope="module")
def host(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Host]:
    """Nothing but an env file at first: no database, no folder."""
    host = Host(tmp_path_factory.mktemp("airflow"))
    try:
        host.serve(*COMPONENTS)
        host.wait_for(lambda: _is_all_healthy(host))
        yield host
    finally:
        host.close()


@pytest.fixture
def airflow(host: Host) -> Iterator[httpx.Client]:
    with host.client() as client:
        yield client


def _is_all_healthy(host: Host, path: str = "/api/v2/monitor/health") -> bool:
    health = host.health(path) or {}
    return {part for part in health if health[part]["status"] == "healthy"} == PARTS


def test_all_four_are_healthy_where_existing_checks_ask(host: Host) -> None:
    assert _is_all_healthy(host, "/api/v1/health")


@pytest.mark.parametrize("password", ["airflow", "wrong", None])
def test_health_needs_no_password_and_minds_none(host: Host, password: str | None) -> None:
    headers = {}
    if password is not None:
        credentials = base64.b64encode(f"airflow:{password}".encode()).decode()
        headers["Authorization"] = f"Basic {credentials}"
    for path in ("/api/v1/health", "/api/v2/monitor/health"):
        assert httpx.get(host.url + path, headers=headers, trust_env=False).status_code == 200


def test_the_rest_of_the_old_api_says_where_it_went(airflow: httpx.Client) -> None:
    response = airflow.get("/api/v1/dags")
    assert response.status_code == 404
    assert "/api/v2" in response.json()["detail"]


def test_a_user_and_password_open_the_api(airflow: httpx.Client) -> None:
    response = airflow.get("/api/v2/dags")
    assert response.status_code == 200
    users = airflow.get("/auth/fab/v1/users").json()["users"]
    assert [(user["username"], user["roles"]) for user in users] == [
        ("airflow", [{"name": "Admin"}])
    ]


@pytest.mark.parametrize("name", REFUSED)
def test_a_training_that_means_harm_is_refused(
    host: Host, airflow: httpx.Client, name: str
) -> None:
    runs = "/api/v2/dags/train_model/dagRuns"
    host.wait_for(lambda: airflow.get(runs).is_success)
    for value in REFUSED[name]:
        body = json.dumps({"logical_date": None, "conf": {name: value}})
        answer = airflow.post(runs, content=body, headers={"Content-Type": "application/json"})
        assert answer.status_code in (400, 413, 422), f"{name} {value!r:.100}: {answer.text:.1000}"

    assert airflow.get(runs).json()["total_entries"] == 0


def test_a_wrong_password_does_not(host: Host) -> None:
    with host.client(password="wrong") as client:
        response = client.get("/api/v2/dags")
    assert response.status_code == 401
    assert response.headers["WWW-Authenticate"].startswith("Basic ")


def test_nobody_comes_in_without_one(host: Host) -> None:
    assert httpx.get(f"{host.url}/api/v2/dags", trust_env=False).status_code == 401


def test_nobody_sends_more_than_a_megabyte(host: Host) -> None:
    pieces = (bytes(100_000) for _ in range(100))
    answer = httpx.post(f"{host.url}/auth/token", content=pieces, trust_env=False)
    assert answer.status_code == 413
    assert answer.json()["detail"] == (
        "A body may have 1048576 bytes here, by AIRFLOW_MAX_BODY_BYTES of this server"
    )


def test_the_shipped_dags_are_there(host: Host, airflow: httpx.Client) -> None:
    host.wait_for(lambda: airflow.get("/api/v2/dags/train_model").is_success)
    assert airflow.get("/api/v2/importErrors").json()["import_errors"] == []


def test_a_file_that_is_dropped_in_becomes_a_dag_that_runs(
    host: Host, airflow: httpx.Client
) -> None:
    (host.dags / "dropped_in.py").write_text(DAG)
    dag = "/api/v2/dags/dropped_in"
    host.wait_for(lambda: airflow.get(dag).is_success, SECONDS_UNTIL_A_NEW_FILE_IS_SEEN)
    run = airflow.post(f"{dag}/dagRuns", json={"logical_date": None}).json()
    address = f"{dag}/dagRuns/{run['dag_run_id']}"
    host.wait_for(lambda: airflow.get(address).json()["state"] in ("success", "failed"))
    assert airflow.get(address).json()["state"] == "success"

    result = f"{address}/taskInstances/look/xcomEntries/return_value"
    seen: dict[str, str] = airflow.get(result).json()["value"]
    assert seen["MLFLOW_TRACKING_URI"] == host.variables["MLFLOW_TRACKING_URI"]
    assert seen["TRAINING_MODEL_NAME"] == "iris"
    assert "AIRFLOW_PASSWORD" not in seen

    log = airflow.get(
        f"{address}/taskInstances/look/logs/1", headers={"Accept": "application/json"}
    )
    assert any("looking around" in line["event"] for line in log.json()["content"])


def test_prometheus_learns_how_all_parts_are(host: Host) -> None:
    page = httpx.get(f"{host.url}/metrics")
    assert page.is_success
    assert shown_metrics(page.text) == documented_metrics("airflow-host")
    lines = page.text.splitlines()
    assert "tripod_airflow_database_up 1.0" in lines
    for component in ("scheduler", "dag_processor", "triggerer"):
        assert f'tripod_airflow_component_up{{component="{component}"}} 1.0' in lines
    assert any(
        re.fullmatch(r'tripod_airflow_dag_runs\{dag_id="dropped_in",state="\w+"\} 1\.0', line)
        for line in lines
    )
    assert 'tripod_airflow_pool_slots{pool="default_pool",state="total"} 128.0' in lines


def test_every_line_of_every_log_is_json(host: Host) -> None:
    for component in COMPONENTS:
        assert host.events(component)[-1]["event"]


def test_what_tasks_import_does_not_fill_the_log_with_warnings(host: Host) -> None:
    warned = [event for event in host.events("scheduler") if event.get("level") == "warning"]
    assert len(warned) < 10, warned[:3]


def test_no_log_and_no_argument_holds_a_secret(host: Host) -> None:
    secrets = [path.read_text() for path in (host.home / "secrets").iterdir()]
    for component, process in host.processes.items():
        arguments = Path(f"/proc/{process.pid}/cmdline").read_text()
        log = host.log_file(component).read_text()
        for secret in secrets:
            assert secret not in log
            assert secret not in arguments


def test_only_the_host_can_read_its_state(host: Host) -> None:
    assert stat.S_IMODE(host.home.stat().st_mode) == 0o700
    for path in (host.home / "secrets").iterdir():
        assert stat.S_IMODE(path.stat().st_mode) == 0o600


def test_airflow_did_not_write_down_the_defaults_of_this_release(host: Host) -> None:
    config = (host.home / "airflow.cfg").read_text()
    assert all(line.startswith("#") for line in config.splitlines())


def test_a_doctor_has_airflow_run_something_and_leaves_nothing(
    host: Host, airflow: httpx.Client
) -> None:
    for link in ("database", "airflow"):
        steps = _doctor(host, link)
        assert {step["verdict"] for step in steps.values()} <= {"passed", "skipped"}, steps
    assert steps["run"]["seen"].startswith("tripod_doctor ran in ")
    assert steps["heartbeats"]["seen"] == ", ".join(sorted(PARTS))
    runs = airflow.get("/api/v2/dags/tripod_doctor/dagRuns").json()
    assert runs["total_entries"] == 0


def test_a_doctor_tells_of_a_password_that_airflow_does_not_have(host: Host) -> None:
    with _variables(host, AIRFLOW_PASSWORD="another"):
        user, login = _doctor(host, "database")["user"], _doctor(host, "airflow")["login"]
    assert user["seen"] == "the user airflow has another password"
    assert login["seen"] == "Airflow does not let airflow log in (401)"
    line = list(host.variables).index("AIRFLOW_PASSWORD") + 1
    setting = f"AIRFLOW_PASSWORD in {host.folder}/env line {line}"
    assert setting in user["remedy"]
    assert setting in login["remedy"]


def test_a_doctor_tells_of_a_user_who_is_not_there(host: Host) -> None:
    with _variables(host, AIRFLOW_USERNAME="ada"):
        assert _doctor(host, "database")["user"]["seen"] == "the user ada is not there"


def test_a_doctor_tells_of_a_user_who_is_disabled(host: Host) -> None:
    with _database(host) as database:
        database.execute("UPDATE ab_user SET active = 0")
    try:
        user, login = _doctor(host, "database")["user"], _doctor(host, "airflow")["login"]
    finally:
        with _database(host) as database:
            database.execute("UPDATE ab_user SET active = 1")
    assert user["seen"] == "the user airflow is not active"
    assert "no active user has this name" in login["meaning"]


def test_a_doctor_tells_of_a_user_who_may_not_trigger(host: Host, airflow: httpx.Client) -> None:
    viewer = {
        "username": "vera",
        "password": "a long password",
        "email": "vera@localhost",
        "first_name": "Vera",
        "last_name": "Viewer",
        "roles": [{"name": "Viewer"}],
    }
    airflow.post("/auth/fab/v1/users", json=viewer).raise_for_status()
    try:
        with _variables(host, AIRFLOW_USERNAME="vera", AIRFLOW_PASSWORD="a long password"):
            user, run = _doctor(host, "database")["user"], _doctor(host, "airflow")["run"]
    finally:
        airflow.delete("/auth/fab/v1/users/vera").raise_for_status()
    assert user["seen"] == "the user vera has not the role Admin"
    assert run["seen"] == "Airflow does not let vera trigger DAGs (403)"
    assert "AIRFLOW_USERNAME in" in run["remedy"]


def _doctor(host: Host, link: str) -> dict[str, Any]:
    """The steps of one link by name."""
    result = host.run("doctor", "--link", link, "--json")
    report = json.loads(result.stdout)
    assert result.returncode == (0 if report["well"] else 1)
    return {step["name"]: step for step in report["links"][0]["steps"]}


@contextmanager
def _variables(host: Host, **variables: str) -> Iterator[None]:
    """Other lines in the env file, which the running processes have read already."""
    before = dict(host.variables)
    host.variables |= variables
    try:
        yield
    finally:
        host.variables = before


@contextmanager
def _database(host: Host) -> Iterator[sqlite3.Connection]:
    with closing(sqlite3.connect(host.home / "airflow.db")) as connection, connection:
        yield connection


# From here on the host is stopped and changed: the order counts.


def test_each_stops_when_it_is_told_to(host: Host) -> None:
    children = _descendants({process.pid for process in host.processes.values()})
    assert host.stop(*COMPONENTS) == dict.fromkeys(COMPONENTS, 0)
    host.wait_for(lambda: not [pid for pid in children if Path(f"/proc/{pid}").exists()], 10)


def test_migrate_finds_nothing_to_do_and_changes_no_secret(host: Host) -> None:
    before = {path: path.read_text() for path in (host.home / "secrets").iterdir()}
    result = host.run("migrate")
    assert (result.returncode, result.stdout) == (0, "The database was ready already.\n")
    assert before == {path: path.read_text() for path in (host.home / "secrets").iterdir()}


def test_an_older_schema_is_refused_until_migrate_was_run(host: Host) -> None:
    with sqlite3.connect(host.home / "airflow.db") as database:
        (fab,) = database.execute("SELECT version_num FROM alembic_version_fab").fetchone()
        database.execute("UPDATE alembic_version_fab SET version_num = '6709f7a774b9'")
    for component in COMPONENTS:
        result = host.run("serve", component)
        assert result.returncode == 1
        assert "run 'airflow_host.pex migrate'" in result.stderr
        assert "Traceback" not in result.stderr
    with sqlite3.connect(host.home / "airflow.db") as database:
        database.execute("UPDATE alembic_version_fab SET version_num = ?", (fab,))


def test_a_changed_password_and_name_take_effect_at_the_next_start(host: Host) -> None:
    host.variables |= {"AIRFLOW_USERNAME": "ada", "AIRFLOW_PASSWORD": "charles babbage"}
    host.serve("api-server")
    host.wait_until_up()
    with host.client("charles babbage", "ada") as client:
        users = client.get("/auth/fab/v1/users").json()["users"]
        assert [user["username"] for user in users] == ["ada"]
    with host.client() as client:
        assert client.get("/api/v2/dags").status_code == 401
    host.stop("api-server")


def _descendants(processes: set[int]) -> set[int]:
    parents = {}
    for status in Path("/proc").glob("[0-9]*/stat"):
        try:
            fields = status.read_text().rpartition(")")[2].split()
        except (FileNotFoundError, ProcessLookupError):
            continue
        parents[int(status.parent.name)] = int(fields[1])
    found = set(processes)
    while grown := {pid for pid, parent in parents.items() if parent in found} - found:
        found |= grown
    return found
