"""What runbooks from before Tripod call: each health check and each log-in still answers."""

import subprocess
import time
from pathlib import Path

import httpx
import pytest

from dev_hosts.hosts import Hosts

DAG_SECONDS = 90.0
"""How long a new DAG file may take to appear where tests run side by side; alone it is under 30."""

DAG = """
from airflow.sdk import dag, task

@dag(schedule=None)
def dropped_in():
    @task
    def greet() -> str:
        return "hello"
    greet()

dropped_in()
"""


def ask(curl: str, *arguments: str) -> str:
    """What curl prints; it fails where the answer is an error."""
    command = [curl, "--silent", "--show-error", "--fail", "--noproxy", "*", *arguments]
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout


def test_mlflows_health_answers(hosts: Hosts, curl: str) -> None:
    assert ask(curl, f"{hosts.urls['mlflow']}/health") == "OK"


def test_airflows_old_health_path_answers_with_a_user_and_password(hosts: Hosts, curl: str) -> None:
    health = ask(curl, "-u", "airflow:airflow", f"{hosts.urls['airflow']}/api/v1/health")
    assert '"healthy"' in health


def test_the_apis_root_answers(hosts: Hosts, curl: str) -> None:
    assert "mlflow" in ask(curl, f"{hosts.urls['api']}/")


def test_a_user_and_password_open_airflows_api(airflow: httpx.Client) -> None:
    dags = airflow.get("/api/v2/dags").json()["dags"]
    assert "train_model" in {dag["dag_id"] for dag in dags}


def test_a_wrong_password_does_not(hosts: Hosts) -> None:
    url = f"{hosts.urls['airflow']}/api/v2/dags"
    assert httpx.get(url, auth=("airflow", "wrong"), trust_env=False).status_code == 401


def test_mlflow_answers_a_client_that_knows_it_by_its_public_name(hosts: Hosts) -> None:
    port = hosts.ports.mlflow
    for name, status in ((f"127.0.0.1:{port}", 200), ("evil.example", 403)):
        answer = httpx.get(
            f"{hosts.urls['mlflow']}/api/2.0/mlflow/experiments/get?experiment_id=0",
            headers={"Host": name},
            trust_env=False,
        )
        assert answer.status_code == status


def test_a_dag_file_dropped_into_the_folder_appears_and_runs(
    hosts: Hosts, airflow: httpx.Client
) -> None:
    (hosts.state / "airflow" / "dags" / "dropped_in.py").write_text(DAG)
    deadline = time.monotonic() + DAG_SECONDS
    while airflow.get("/api/v2/dags/dropped_in").status_code == 404:
        if time.monotonic() > deadline:
            pytest.fail(f"the DAG did not appear within {DAG_SECONDS:.0f} s")
    Path(hosts.state / "airflow" / "dags" / "dropped_in.py").unlink()
