"""Secrets of servers are replaced while they work: no training is lost, all stays readable."""

import json
from collections.abc import Iterator
from typing import Any

import httpx
import pytest

from lab.deadline import wait_for
from lab.deployment import Deployment
from lab.host import LabHost

ROTATION_SECONDS = 900.0
TRAINING_SECONDS = 900.0
TOKENS = "AIRFLOW__API_AUTH__JWT_SECRET"
FERNET = "AIRFLOW__CORE__FERNET_KEY"


@pytest.fixture
def api(deployment: Deployment) -> Iterator[httpx.Client]:
    with deployment.connect("api", timeout=60) as client:
        yield client


def rotate(host: LabHost, product: str, name: str, *options: str, stdin: str = "") -> str:
    done = host.run(product, "rotate", name, *options, stdin=stdin, seconds=ROTATION_SECONDS)
    audited = host.run("journalctl", f"--identifier={product}", "--output=cat").stdout
    assert f'"secret:{name}"' in audited
    return done.stdout


def value(host: LabHost, product: str, name: str) -> str:
    return host.read(f"/etc/{product}/credentials/{name}")


def start(api: httpx.Client) -> str:
    answer = api.post("/v1/trainings", json={})
    assert answer.is_success, answer.text
    return str(answer.json()["id"])


def state(api: httpx.Client, training: str) -> str:
    answer = api.get(f"/v1/trainings/{training}")
    # While the api-server restarts, nobody can say.
    return str(answer.json()["state"]) if answer.is_success else "unknown"


def end_of(api: httpx.Client, training: str) -> str:
    ends = ("succeeded", "failed")
    wait_for(lambda: state(api, training) in ends, TRAINING_SECONDS, "the end of a training")
    return state(api, training)


def tasks(deployment: Deployment, training: str) -> list[dict[str, Any]]:
    with deployment.connect("airflow") as airflow:
        path = f"/api/v2/dags/train_model/dagRuns/{training}/taskInstances"
        found: list[dict[str, Any]] = airflow.get(path).raise_for_status().json()["task_instances"]
        return found


@pytest.mark.parametrize("name", [TOKENS, FERNET])
def test_a_key_of_airflow_is_replaced_under_trainings(
    deployment: Deployment, api: httpx.Client, name: str
) -> None:
    host = deployment.lab["airflow"]
    # Airflow hides the value of one whose name has a word such as secret in it.
    variable = f"kept_{name.split('__')[1].lower()}"
    with deployment.connect("airflow") as airflow:
        body = {"key": variable, "value": "readable"}
        airflow.post("/api/v2/variables", json=body).raise_for_status()
    before = value(host, "airflow-host", name)
    trainings = [start(api) for _ in range(3)]
    wait_for(
        lambda: any(state(api, training) == "running" for training in trainings),
        TRAINING_SECONDS,
        "a training that runs",
    )
    rotate(host, "airflow-host", name)
    assert value(host, "airflow-host", name) != before
    for training in trainings:
        assert end_of(api, training) == "succeeded"
        assert {task["try_number"] for task in tasks(deployment, training)} == {1}
    with deployment.connect("airflow") as airflow:
        found = airflow.get(f"/api/v2/variables/{variable}").raise_for_status().json()
    assert found["value"] == "readable"


def test_what_trainings_log_in_to_mlflow_with_is_replaced_under_them(
    deployment: Deployment, api: httpx.Client
) -> None:
    host, name = deployment.lab["airflow"], "MLFLOW_TRACKING_PASSWORD"
    training = start(api)
    wait_for(lambda: state(api, training) == "running", TRAINING_SECONDS, "a training that runs")
    # The same once more: MLflow has no other. What uses it is restarted all the same.
    rotate(host, "airflow-host", name, "--stdin", stdin=value(host, "airflow-host", name))
    assert end_of(api, training) == "succeeded"
    assert {task["try_number"] for task in tasks(deployment, training)} == {1}


def test_the_password_of_the_api_goes_from_server_to_server(
    deployment: Deployment, api: httpx.Client
) -> None:
    airflow, server = deployment.lab["airflow"], deployment.lab["api"]
    said = rotate(airflow, "airflow-host", "AIRFLOW_API_PASSWORD")
    assert "sudo api-host rotate AIRFLOW_PASSWORD --stdin" in said
    start(api)  # It is still logged in.
    new = value(airflow, "airflow-host", "AIRFLOW_API_PASSWORD")
    rotate(server, "api-host", "AIRFLOW_PASSWORD", "--stdin", stdin=new)
    assert end_of(api, start(api)) == "succeeded"


def test_a_rotation_that_was_killed_is_told_of_and_goes_on(deployment: Deployment) -> None:
    host, name = deployment.lab["airflow"], "AIRFLOW__API__SECRET_KEY"
    before = value(host, "airflow-host", name)
    note = f"/etc/airflow-host/credentials/.{name}.rotation"
    host.shell(
        f"airflow-host rotate {name} & pid=$!; until [ -e {note} ]; do sleep 0.05; done;"
        " kill -KILL $pid",
    )
    new = json.loads(host.read(note))["new"]
    assert unfinished(host) == {name}
    rotate(host, "airflow-host", name)
    assert value(host, "airflow-host", name) == new != before
    assert unfinished(host) == set()


def unfinished(host: LabHost) -> set[str]:
    listed = json.loads(host.run("airflow-host", "rotate", "--list", "--json").stdout)
    return {secret["name"] for secret in listed if secret["unfinished"]}
