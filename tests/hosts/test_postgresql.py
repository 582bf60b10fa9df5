"""MLflow and Airflow on a PostgreSQL of another server, as larger teams have them."""

import json
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import quote

import pytest

from dev_hosts.journey import travel
from dev_hosts.pexes import Pexes
from dev_hosts.progress import Progress
from lab import base
from lab.deployment import READY_SECONDS, SERVERS, Deployment
from lab.host import LabHost
from lab.lab import Lab
from lab.network import ADDRESSES
from lab.release import another

PASSWORD = "p@ss/w:rd %"
CONNECTIONS = {
    "mlflow": "MLFLOW_BACKEND_STORE_URI",
    "airflow": "AIRFLOW__DATABASE__SQL_ALCHEMY_CONN",
}
"""The credential of each host that says where its database is."""

SECONDS = 900.0
CHAMPION = "/api/2.0/mlflow/registered-models/alias?name=iris&alias=champion"


@pytest.fixture(scope="module")
def deployment(
    fit_machine: None,
    tmp_path_factory: pytest.TempPathFactory,
    pexes: Pexes,
    progress: Progress,
) -> Iterator[Deployment]:
    """Three hosts and a database server, with a model that was trained and is served."""
    root = base.find_or_make(["postgresql"])
    addresses = {**ADDRESSES, "db": "10.77.0.5"}
    with Lab(tmp_path_factory.mktemp("postgresql") / "hosts", addresses, root) as lab:
        make_databases(lab["db"])
        deployment = Deployment(lab, pexes, progress)
        for name in SERVERS:
            deployment.copy(name)
            deployment.install(name)
        for name, credential in CONNECTIONS.items():
            url = f"postgresql://{name}:{quote(PASSWORD, safe='')}@db/{name}"
            lab[name].write(f"/etc/{name}-host/credentials/{credential}", url, mode="600")
        deployment.configure()
        for name in SERVERS:
            deployment.start(name)
        for name in SERVERS:
            deployment.wait_until_ready(name)
        travel(deployment, progress)
        yield deployment


def make_databases(host: LabHost) -> None:
    """Lets the other hosts in, each with a user and a database of its own."""
    host.shell(
        "pg_conftool 15 main set listen_addresses '*';"
        " echo 'host all all 10.77.0.0/24 scram-sha-256' >> /etc/postgresql/15/main/pg_hba.conf;"
        " systemctl restart postgresql@15-main"
    )
    for name in CONNECTIONS:
        ask(host, f"CREATE USER {name} PASSWORD '{PASSWORD}'")
        ask(host, f"CREATE DATABASE {name} OWNER {name}")


def ask(host: LabHost, statement: str, database: str = "postgres") -> str:
    """What the database server answers its administrator."""
    words = ["--no-align", "--tuples-only", "--command", statement, database]
    return host.run("runuser", "--user=postgres", "--", "psql", *words).stdout.strip()


def champion(deployment: Deployment) -> str | None:
    """The version that the registry calls champion."""
    with deployment.connect("mlflow") as mlflow:
        answer = mlflow.get(CHAMPION)
        return str(answer.json()["model_version"]["version"]) if answer.is_success else None


def wait_until_well(deployment: Deployment, name: str) -> None:
    """Returns when the doctor of a host finds nothing wrong."""
    host, product = deployment.lab[name], SERVERS[name].product
    host.wait_for(
        lambda: host.run(product, "doctor", check=False).returncode == 0, SECONDS, "a well host"
    )


@pytest.mark.parametrize("name", CONNECTIONS)
def test_it_keeps_everything_there(deployment: Deployment, name: str) -> None:
    table = {"mlflow": "runs", "airflow": "dag_run"}[name]
    assert int(ask(deployment.lab["db"], f"SELECT count(*) FROM {table}", name)) > 0
    assert deployment.lab[name].shell(f"ls /var/lib/{name}-host").stdout.count(".db\n") == 0


@pytest.mark.parametrize("name", SERVERS)
def test_the_doctor_finds_it_well(deployment: Deployment, name: str) -> None:
    wait_until_well(deployment, name)


@pytest.mark.parametrize("name", CONNECTIONS)
def test_an_upgrade_and_its_rollback_leave_it_as_it_is(
    deployment: Deployment, name: str, tmp_path: Path
) -> None:
    host, product = deployment.lab[name], SERVERS[name].product
    before = champion(deployment)
    release = another(deployment.pex(name), tmp_path / "another.pex")
    host.put(release, "/root/another.pex")
    host.run("/root/another.pex", "install", seconds=SECONDS)
    record = json.loads(host.read(f"/opt/{product}/current/release.json"))
    assert record["previous"] is not None
    deployment.wait_until_ready(name)
    host.run(product, "rollback", "--yes", seconds=SECONDS)
    deployment.wait_until_ready(name)
    assert champion(deployment) == before


def test_a_backup_brings_back_what_was_deleted(deployment: Deployment) -> None:
    host = deployment.lab["mlflow"]
    before = champion(deployment)
    backup = json.loads(host.run("mlflow-host", "backup", "--json", seconds=SECONDS).stdout)
    with deployment.connect("mlflow") as mlflow:
        mlflow.request(
            "DELETE", "/api/2.0/mlflow/registered-models/delete", json={"name": "iris"}
        ).raise_for_status()
    assert champion(deployment) is None
    host.run("mlflow-host", "restore", backup["folder"], "--restart", "--yes", seconds=SECONDS)
    deployment.wait_until_ready("mlflow")
    assert champion(deployment) == before


def test_hosts_get_over_a_database_that_was_away(deployment: Deployment) -> None:
    db = deployment.lab["db"]
    db.systemctl("stop", "postgresql@15-main")
    far = deployment.lab["mlflow"].run("mlflow-host", "doctor", "--json", check=False)
    db.systemctl("start", "postgresql@15-main")
    failed = [
        (link["name"], step["seen"])
        for link in json.loads(far.stdout)["links"]
        for step in link["steps"]
        if step["verdict"] == "failed"
    ]
    assert failed[0][0] == "database"
    assert PASSWORD not in far.stdout + far.stderr
    for name in SERVERS:
        deployment.wait_until_ready(name, READY_SECONDS)
        wait_until_well(deployment, name)
