"""The account that the API server logs in as: what it may do at a real Airflow, and what not."""

import json
import re
from collections.abc import Iterator

import httpx
import pytest

from airflow_host.user import PERMISSIONS
from tests.airflow_host.host import Host

PASSWORD = "the password of the API"
ANOTHER = "another password of the API"
RUNS = "/api/v2/dags/train_model/dagRuns"

READS = {
    "",
    "/dagRuns",
    "/dagRuns/{dag_run_id}",
    "/details",
    "/tasks",
    "/tasks/{task_id}",
    "/dagRuns/{dag_run_id}/wait",
}
"""Below the DAG, besides what is below its task instances."""

SHIPPED = 2
"""DAGs that are there from the start."""

OPEN = {
    ("GET", "/api/v2/monitor/health"),
    ("GET", "/api/v2/version"),
    ("GET", "/api/v2/auth/login"),
}

ONLY_ITS_OWN = {("GET", "/api/v2/dags"), ("GET", "/api/v2/dagStats"), ("GET", "/api/v2/dagTags")}
"""Lists in which other DAGs are not."""

TASKS = "/dagRuns/{dag_run_id}/taskInstances"

WRITES = {"/dagRuns", "/dagRuns/list", f"{TASKS}/list", "/favorite", "/unfavorite"}
"""A favourite is a mark on its own page, which nobody else sees."""

NEEDS_A_BODY = {
    "dagRuns/list": {},
    "taskInstances/list": {},
    "dagRuns": {"logical_date": None},
}

BULK = {"actions": [{"action": "delete", "entities": ["1"]}]}


@pytest.fixture(scope="module")
def host(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Host]:
    host = Host(tmp_path_factory.mktemp("airflow"), AIRFLOW_API_PASSWORD=PASSWORD)
    try:
        host.serve("api-server", "dag-processor")
        host.wait_until_up()
        with host.client() as admin:
            host.wait_for(lambda: admin.get("/api/v2/dags").json()["total_entries"] == SHIPPED)
        yield host
    finally:
        host.close()


@pytest.fixture
def admin(host: Host) -> Iterator[httpx.Client]:
    with host.client() as client:
        yield client


@pytest.fixture
def api(host: Host) -> Iterator[httpx.Client]:
    with host.client(PASSWORD, "api") as client:
        yield client


def test_it_starts_a_training_and_reads_what_comes_of_it(api: httpx.Client) -> None:
    order = {
        "dag_run_id": "of-the-api",
        "logical_date": None,
        "conf": {"model_name": "iris", "request_id": "1"},
        "note": "request_id 1",
    }
    assert api.post(RUNS, json=order).status_code == 200
    assert api.post(RUNS, json=order).status_code == 409
    assert api.get(f"{RUNS}/of-the-api").json()["conf"] == order["conf"]
    assert api.get(f"{RUNS}/of-the-api/taskInstances").json()["total_entries"] > 0
    # There is no such value yet, which is not the same as not to be allowed to ask for it.
    value = f"{RUNS}/of-the-api/taskInstances/promote/xcomEntries/return_value?map_index=-1"
    assert api.get(value).status_code == 404


def test_of_all_that_the_api_has_it_may_do_nothing_else(
    admin: httpx.Client, api: httpx.Client
) -> None:
    paths = admin.get("/openapi.json").json()["paths"]
    token = api.get("/api/v2/dags/train_model").json()["file_token"]
    wrong, asked = [], 0
    for method, path in _routes(paths):
        for dag in ("train_model", "tripod_doctor") if "{dag_id}" in path else ("",):
            status = _ask(api, method, path, dag, token)
            asked += 1
            if (status != 403) != _is_allowed(method, path, dag):
                wrong.append(f"{method} {path} {dag}: {status}")
    assert wrong == []
    assert asked > 150
    assert api.get(RUNS).is_success  # It was not refused because its login had ended.


def test_each_change_by_the_api_is_a_line_with_who_and_whether_they_might(
    host: Host, api: httpx.Client
) -> None:
    api.patch("/api/v2/dags/train_model", json={"is_paused": True})
    lines = [event for event in host.events("api-server") if event["event"] == "audit"]
    wanted = {
        "action": "airflow.patch",
        "on": "/api/v2/dags/train_model",
        "who": "user:api",
        "address": "127.0.0.1",
        "allowed": False,
    }
    assert wanted in [{name: line[name] for name in wanted} for line in lines]


def test_lists_do_not_tell_it_of_other_dags(admin: httpx.Client, api: httpx.Client) -> None:
    admin.post("/api/v2/dags/tripod_doctor/dagRuns", json={"logical_date": None})
    assert admin.get("/api/v2/dags/~/dagRuns").json()["total_entries"] > 0
    for path, key in {
        "dags": "dags",
        "dags/~/dagRuns": "dag_runs",
        "dags/~/dagRuns/~/taskInstances": "task_instances",
        "dagStats": "dags",
    }.items():
        answer = api.get(f"/api/v2/{path}")
        assert answer.is_success, answer.text
        found = answer.json()[key]
        assert {entry["dag_id"] for entry in found} <= {"train_model"}, path


def test_after_a_start_it_has_its_rights_again_its_new_password_and_its_old_token(
    host: Host, admin: httpx.Client, api: httpx.Client
) -> None:
    token = _log_in(api, PASSWORD).json()["access_token"]
    host.variables["AIRFLOW_API_PASSWORD"] = ANOTHER
    more = {"actions": [{"action": {"name": "can_read"}, "resource": {"name": "Variables"}}]}
    role = {"name": "TripodTrainer", **more}
    admin.patch("/auth/fab/v1/roles/TripodTrainer", json=role).raise_for_status()
    host.stop("api-server")
    host.serve("api-server")
    host.wait_until_up()
    assert _log_in(api, PASSWORD).status_code == 401
    assert _log_in(api, ANOTHER).status_code == 201
    with httpx.Client(
        base_url=host.url, headers={"Authorization": f"Bearer {token}"}, trust_env=False
    ) as still_logged_in:
        assert still_logged_in.get("/api/v2/variables").status_code == 403
        assert still_logged_in.get(RUNS).status_code == 200
    roles = admin.get("/auth/fab/v1/roles/TripodTrainer").json()
    given = {(entry["action"]["name"], entry["resource"]["name"]) for entry in roles["actions"]}
    assert given == PERMISSIONS


def _log_in(client: httpx.Client, password: str, username: str = "api") -> httpx.Response:
    return client.post("/auth/token", json={"username": username, "password": password})


def _routes(paths: dict[str, dict[str, object]]) -> list[tuple[str, str]]:
    return [
        (method.upper(), path)
        for path, methods in paths.items()
        if path.startswith("/api/v2/") and path != "/api/v2/auth/logout"  # It ends the login.
        for method in methods
    ]


def _is_allowed(method: str, path: str, dag: str) -> bool:
    if (method, path) in OPEN | ONLY_ITS_OWN or _is_about_nothing(method, path):
        return True
    start, _, below = path.partition("{dag_id}")
    if dag != "train_model" or start != "/api/v2/dags/":
        return False
    if method == "POST":
        return below in WRITES
    return method == "GET" and (below in READS or _is_read_of_tasks(below))


def _is_read_of_tasks(below: str) -> bool:
    others = ("externalLogUrl", "hitl", "logs")
    return below.startswith(TASKS) and not any(word in below for word in others)


def _is_about_nothing(method: str, path: str) -> bool:
    """There is none, and Airflow looks for it before it looks at who asks."""
    return "{backfill_id}" in path or (method == "GET" and "enqueue-test" in path)


def _ask(api: httpx.Client, method: str, path: str, dag: str, token: str) -> int:
    url = path.replace("{dag_id}", dag).replace("{file_token}", token)
    url = re.sub(r"\{\w+\}", "1", url)
    body = None if method in ("GET", "DELETE") else _body(method, path)
    response = api.request(
        method,
        url,
        json=body,
        params={"dag_id": "tripod_doctor"} if path.endswith("/backfills") else None,
        headers={"Airflow-Connection-Test-Token": "1"},
    )
    return response.status_code


def _body(method: str, path: str) -> object:
    if method == "PATCH" and not path.endswith("}"):
        return BULK
    if path.endswith("clearDagRuns"):
        return {"partition_key": "1"}
    if path.endswith("enqueue-test"):
        return {"connection_id": "one", "conn_type": "http"}
    return next((body for end, body in NEEDS_A_BODY.items() if path.endswith(f"/{end}")), {})


def test_people_are_added_listed_given_passwords_and_removed(host: Host) -> None:
    password = host.run("users", "add", "ada", "--role", "viewer").stdout.strip()
    assert len(password) >= 20
    with host.client(password, "ada") as ada:
        assert ada.get("/api/v2/dags").status_code == 200
        assert ada.post(RUNS, json={"logical_date": None}).status_code == 403
    users = {user["name"]: user for user in json.loads(host.run("users", "list", "--json").stdout)}
    assert users["ada"]["roles"] == ["Viewer"]
    assert [name for name in users if users[name]["kept_by_settings"]] == ["airflow", "api"]
    removed = host.run("users", "remove", "ada")
    assert '"action": "user.remove"' in removed.stderr
    with httpx.Client(base_url=host.url, trust_env=False, timeout=30) as client:
        assert _log_in(client, password, "ada").status_code == 401


def test_the_hosts_own_accounts_are_not_changed_by_hand(host: Host) -> None:
    refused = host.run("users", "remove", "api")
    assert refused.returncode == 1
    assert "'rotate' changes its password" in refused.stderr
