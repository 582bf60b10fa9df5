"""The doctor of each installed host, on servers that are well and with one fault at a time."""

import json
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest

from lab import clock, faults
from lab.deadline import wait_for
from lab.deployment import SERVERS, Deployment, set_variables

HEARTBEAT_SECONDS = 180.0

Steps = dict[str, dict[str, Any]]


def doctor(deployment: Deployment, name: str, *arguments: str) -> dict[str, Steps]:
    """What a host's doctor found, started by root: steps by name by link."""
    command = f"/usr/local/bin/{SERVERS[name].product}"
    done = deployment.lab[name].run(command, "doctor", "--json", *arguments, check=False)
    report = json.loads(done.stdout)
    assert done.returncode == (0 if report["well"] else 1)
    return {
        link["name"]: {step["name"]: step for step in link["steps"]} for link in report["links"]
    }


def failed(links: dict[str, Steps]) -> list[tuple[str, str]]:
    """The steps that failed, each with its link."""
    return [
        (link, name)
        for link, steps in links.items()
        for name, step in steps.items()
        if step["verdict"] == "failed"
    ]


def line_of(deployment: Deployment, name: str, variable: str) -> str:
    """Where a variable is set, as a doctor says it."""
    path = f"/etc/{SERVERS[name].product}/env"
    lines = deployment.lab[name].read(path).splitlines()
    number = next(n for n, line in enumerate(lines, 1) if line.startswith(f"{variable}="))
    return f"{variable} in {path} line {number}"


@contextmanager
def changed(deployment: Deployment, name: str, path: str, text: str) -> Iterator[None]:
    """A file of a host with another text, until the block ends."""
    host = deployment.lab[name]
    before = host.read(path)
    host.run("sh", "-c", 'cat > "$1"', "sh", path, stdin=text)
    try:
        yield
    finally:
        host.run("sh", "-c", 'cat > "$1"', "sh", path, stdin=before)


@contextmanager
def tracking_uri(deployment: Deployment, url: str) -> Iterator[None]:
    """Another MLFLOW_TRACKING_URI in the env file of the API."""
    host, path = deployment.lab["api"], "/etc/api-host/env"
    with changed(deployment, "api", path, host.read(path)):
        set_variables(host, path, {"MLFLOW_TRACKING_URI": url})
        yield


@contextmanager
def stopped(deployment: Deployment, name: str, unit: str) -> Iterator[None]:
    host = deployment.lab[name]
    host.systemctl("stop", unit)
    try:
        yield
    finally:
        host.systemctl("start", unit)
        deployment.wait_until_ready(name)


@pytest.mark.parametrize("name", SERVERS)
def test_all_is_well(deployment: Deployment, name: str) -> None:
    links = doctor(deployment, name)
    assert failed(links) == []
    if name != "mlflow":
        ran = {"airflow": "tripod_doctor ran in ", "api": "api may start train_model and nothing"}
        assert links["airflow"]["run"]["seen"].startswith(ran[name])
        assert "callers need a key" in links["api"]["prediction"]["seen"]
    # As the service, which cannot read the files of root, with its credentials.
    user = SERVERS[name].product
    owners = {"api": "root"}  # The socket is systemd's.
    assert links["host"]["port"]["seen"].endswith(f" of {owners.get(name, user)}")


def test_a_person_is_told_in_words(deployment: Deployment) -> None:
    said = deployment.lab["api"].run("/usr/local/bin/api-host", "doctor").stdout
    assert said.endswith("api-host is well.\n")
    assert " prediction    callers need a key there" in said


def test_nothing_is_left_behind(deployment: Deployment) -> None:
    doctor(deployment, "api")
    with deployment.connect("airflow") as airflow:
        runs = airflow.get("/api/v2/dags/tripod_doctor/dagRuns").raise_for_status().json()
    assert runs["total_entries"] == 0
    artifacts = deployment.lab["mlflow"].run("find", "/var/lib/mlflow-host", "-name", "*doctor*")
    assert artifacts.stdout == ""


def test_a_wrong_password(deployment: Deployment) -> None:
    path = "/etc/api-host/credentials/AIRFLOW_PASSWORD"
    with changed(deployment, "api", path, "not the password"):
        links = doctor(deployment, "api", "--link", "airflow")
    assert failed(links) == [("airflow", "login")]
    assert f"AIRFLOW_PASSWORD in {path}" in links["airflow"]["login"]["remedy"]


def test_a_key_that_was_removed_is_named_with_what_brings_one_back(deployment: Deployment) -> None:
    airflow = deployment.lab["airflow"]
    path = "/etc/airflow-host/credentials/AIRFLOW__API__SECRET_KEY"
    airflow.run("mv", path, "/root/kept")
    try:
        links = doctor(deployment, "airflow", "--link", "host")
    finally:
        airflow.run("mv", "/root/kept", path)
    assert failed(links) == [("host", "secrets")]
    assert links["host"]["secrets"]["seen"] == f"{path}: not there"
    assert failed(doctor(deployment, "airflow", "--link", "host")) == []


def test_a_credential_that_is_not_needed_may_be_removed(deployment: Deployment) -> None:
    api = deployment.lab["api"]
    api.run("rm", "/etc/api-host/credentials/API_JWT_SECRET")
    api.systemctl("restart", "api-host")
    deployment.wait_until_ready("api")
    assert failed(doctor(deployment, "api", "--link", "host")) == []


URLS = {
    "a wrong port": ("http://mlflow:5001", "tcp", "mlflow port 5001 refuses connections"),
    "another server": ("http://airflow:8080", "http", "http://airflow:8080 is Airflow, not MLflow"),
    "a wrong name": ("http://mlfow:5000", "name", "no name server answers when asked for mlfow"),
    "TLS where there is none": ("https://mlflow:5000", "tls", "mlflow port 5000 speaks plain HTTP"),
}


@pytest.mark.parametrize(("url", "step", "seen"), URLS.values(), ids=URLS)
def test_a_wrong_url(deployment: Deployment, url: str, step: str, seen: str) -> None:
    with tracking_uri(deployment, url):
        links = doctor(deployment, "api", "--link", "mlflow")
        line = line_of(deployment, "api", "MLFLOW_TRACKING_URI")
    assert failed(links) == [("mlflow", step)]
    assert links["mlflow"][step]["seen"] == seen
    assert line in links["mlflow"][step]["remedy"]


def test_a_name_that_is_known_here_but_not_to_mlflow(deployment: Deployment) -> None:
    hosts = deployment.lab["api"].read("/etc/hosts")
    alias = f"{hosts}\n{deployment.lab['mlflow'].address} tracking.example\n"
    with (
        changed(deployment, "api", "/etc/hosts", alias),
        tracking_uri(deployment, "http://tracking.example:5000"),
    ):
        links = doctor(deployment, "api", "--link", "mlflow")
    assert failed(links) == [("mlflow", "http")]
    remedy = links["mlflow"]["http"]["remedy"]
    assert "MLFLOW_PUBLIC_URL=http://tracking.example:5000 in /etc/mlflow-host/env" in remedy


def test_a_port_that_a_firewall_blocks(deployment: Deployment) -> None:
    with faults.blocked(deployment.lab, "mlflow", 5000):
        links = doctor(deployment, "api", "--link", "mlflow")
    assert failed(links) == [("mlflow", "tcp")]
    tcp = links["mlflow"]["tcp"]
    assert tcp["seen"] == "mlflow port 5000 did not answer the connection"
    assert "mlflow-host config firewall" in tcp["remedy"]


def test_a_server_that_is_stopped(deployment: Deployment) -> None:
    with stopped(deployment, "mlflow", "mlflow-host.service"):
        near, far = doctor(deployment, "mlflow"), doctor(deployment, "api", "--link", "mlflow")
    assert failed(near) == [("host", "port"), ("mlflow", "tcp")]
    assert "systemctl start mlflow-host.service" in near["host"]["port"]["remedy"]
    assert failed(far) == [("mlflow", "tcp")]
    assert "systemctl status mlflow-host.service" in far["mlflow"]["tcp"]["remedy"]


def test_a_scheduler_that_is_stopped(deployment: Deployment) -> None:
    unit = "airflow-host-scheduler"

    def noticed() -> Steps | None:
        steps = doctor(deployment, "api", "--link", "airflow")["airflow"]
        return steps if steps.get("heartbeats", {}).get("verdict") == "failed" else None

    with stopped(deployment, "airflow", unit):
        steps = wait_for(noticed, HEARTBEAT_SECONDS, "a heartbeat that is missed")
    assert steps is not None
    assert f"systemctl restart {unit}" in steps["heartbeats"]["remedy"]
    wait_for(
        lambda: failed(doctor(deployment, "airflow", "--link", "airflow")) == [],
        HEARTBEAT_SECONDS,
        "a scheduler that is well again",
    )


@pytest.mark.parametrize(("seconds", "word"), [(3600, "ahead of"), (-3600, "behind")])
def test_a_clock_that_is_wrong_by_an_hour(deployment: Deployment, seconds: int, word: str) -> None:
    unit = "mlflow-host.service"
    with clock.shifted(deployment.lab["mlflow"], unit, seconds=seconds):
        deployment.wait_until_ready("mlflow")
        links = doctor(deployment, "api", "--link", "mlflow")
    deployment.wait_until_ready("mlflow")
    assert failed(links) == [("mlflow", "clock")]
    assert f"{word} this server's" in links["mlflow"]["clock"]["seen"]
    assert "timedatectl" in links["mlflow"]["clock"]["remedy"]
