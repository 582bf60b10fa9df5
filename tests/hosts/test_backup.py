"""Backups that the timers' services make, under the whole hardening set, and what restores them."""

import json

import pytest

from lab.deadline import wait_for
from lab.deployment import READY_SECONDS, SERVERS, Deployment
from lab.host import LabHost

BACKUP_SECONDS = 300.0
CHAMPION = "/api/2.0/mlflow/registered-models/alias?name=iris&alias=champion"


def newest(host: LabHost, product: str) -> str:
    return host.shell(f"ls -d /var/backups/{product}/*").stdout.split()[-1]


def backed_up(host: LabHost, product: str, *options: str) -> str:
    """Makes a backup as root; returns its folder."""
    done = host.run(product, "backup", "--json", *options, seconds=BACKUP_SECONDS)
    folder: str = json.loads(done.stdout)["folder"]
    return folder


def restored(host: LabHost, product: str, folder: str) -> str:
    """Restores a backup as root, with the host stopped meanwhile; returns what it said."""
    done = host.run(product, "restore", folder, "--restart", "--yes", seconds=BACKUP_SECONDS)
    return done.stdout


@pytest.mark.parametrize("name", SERVERS)
def test_the_timers_service_makes_a_backup(deployment: Deployment, name: str) -> None:
    host, product = deployment.lab[name], SERVERS[name].product
    host.run("systemctl", "start", f"{product}-backup.service", seconds=BACKUP_SECONDS)
    folder = newest(host, product)
    manifest = json.loads(host.read(f"{folder}/manifest.json"))
    assert manifest["host"] == product
    assert "env" in manifest["entries"]
    assert not any(path.startswith("credentials") for path in manifest["entries"])
    # The user's own, and nobody else's to read.
    assert host.run("stat", "--format=%U %a", folder).stdout.split() == [product, "700"]
    assert host.systemctl("is-enabled", f"{product}-backup.timer") == "enabled"


def test_root_can_add_the_credentials_which_only_root_can_read(deployment: Deployment) -> None:
    host = deployment.lab["airflow"]
    folder = backed_up(host, "airflow-host", "--with-credentials", "--to", "/var/backups/apart")
    key = f"{folder}/credentials/AIRFLOW__CORE__FERNET_KEY"
    assert host.run("stat", "--format=%U %a", key).stdout.split() == ["root", "600"]
    assert host.read(key) == host.read("/etc/airflow-host/credentials/AIRFLOW__CORE__FERNET_KEY")
    host.run("rm", "-r", folder)


def test_a_host_that_runs_is_not_restored(deployment: Deployment) -> None:
    host = deployment.lab["mlflow"]
    folder = backed_up(host, "mlflow-host")
    refused = host.run("mlflow-host", "restore", folder, "--yes", check=False)
    assert refused.returncode == 1
    assert "mlflow-host runs: stop it first" in refused.stderr
    assert host.is_active("mlflow-host.service")


def test_a_registry_that_was_deleted_comes_back(deployment: Deployment) -> None:
    host = deployment.lab["mlflow"]
    folder = backed_up(host, "mlflow-host")
    with deployment.connect("mlflow") as client:
        champion = client.get(CHAMPION).json()["model_version"]
        deleted = client.request(
            "DELETE", "/api/2.0/mlflow/registered-models/delete", json={"name": "iris"}
        )
        assert deleted.is_success, deleted.text
        assert client.get(CHAMPION).status_code == 404
    host.shell("rm -r /var/lib/mlflow-host/artifacts/*")
    said = restored(host, "mlflow-host", folder)
    wait_for(lambda: deployment.is_ready("mlflow"), READY_SECONDS, "MLflow after a restore")
    assert "Restored database: /var/lib/mlflow-host/mlflow.db; the one before is" in said
    with deployment.connect("mlflow") as client:
        assert client.get(CHAMPION).json()["model_version"] == champion
    assert host.shell("find /var/lib/mlflow-host/artifacts -type f").stdout
    owners = host.shell("find /var/lib/mlflow-host ! -user mlflow-host").stdout
    assert owners == ""
    host.shell("rm -r /var/lib/mlflow-host/*.before-restore-* /etc/mlflow-host/*.before-restore-*")


def test_airflows_runs_and_its_user_come_back(deployment: Deployment) -> None:
    host = deployment.lab["airflow"]
    runs = "/api/v2/dags/train_model/dagRuns"
    with deployment.connect("airflow") as client:
        before = client.get(runs).json()["total_entries"]
        assert before >= 1
    folder = backed_up(host, "airflow-host")
    host.systemctl("stop", "airflow-host.target")
    host.run("rm", "/var/lib/airflow-host/airflow.db")
    restored(host, "airflow-host", folder)
    host.systemctl("start", "airflow-host.target")
    wait_for(lambda: deployment.is_ready("airflow"), READY_SECONDS, "Airflow after a restore")
    with deployment.connect("airflow") as client:
        assert client.get(runs).json()["total_entries"] == before
    host.shell(
        "rm -r /var/lib/airflow-host/*.before-restore-* /etc/airflow-host/*.before-restore-*"
    )
