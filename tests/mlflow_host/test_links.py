"""A real MLflow as a doctor sees it."""

import json
import os
import sqlite3
import subprocess
import sys
from contextlib import closing
from pathlib import Path
from typing import Any

import httpx
import pytest
from click.testing import CliRunner

from hostkit.migrations import read_revisions
from mlflow_host.cli import main
from tests.mlflow_host.host import Host, Start


def doctor(env_file: Path, link: str) -> dict[str, Any]:
    """The steps of one link by name."""
    result = CliRunner().invoke(
        main, ["doctor", "--env-file", str(env_file), "--link", link, "--json"]
    )
    report = json.loads(result.stdout)
    assert result.exit_code == (0 if report["well"] else 1)
    return {step["name"]: step for step in report["links"][0]["steps"]}


def env_file(folder: Path, *lines: str) -> Path:
    path = folder / "doctor-env"
    path.write_text("\n".join(lines))
    return path


def test_all_steps_to_a_server_that_is_well_and_nothing_is_left(
    server: Host, tmp_path: Path
) -> None:
    artifacts = server.folder / "state" / "artifacts"
    before = sorted(artifacts.rglob("*"))
    steps = doctor(env_file(tmp_path, f"MLFLOW_PUBLIC_URL={server.url}"), "mlflow")
    assert {name: step["verdict"] for name, step in steps.items()} == {
        "name": "skipped",
        "tcp": "passed",
        "tls": "skipped",
        "http": "passed",
        "clock": "passed",
        "login": "passed",
        "version": "passed",
        "artifact": "passed",
    }
    assert steps["version"]["seen"].startswith("MLflow 3.")
    assert sorted(artifacts.rglob("*")) == before


def test_a_name_that_mlflow_does_not_go_by(start: Start, tmp_path: Path) -> None:
    host = start("serve", MLFLOW_SERVER_ALLOWED_HOSTS="mlflow,mlflow:*")
    host.wait_until_healthy()
    http = doctor(env_file(tmp_path, "", f"MLFLOW_PUBLIC_URL={host.url}"), "mlflow")["http"]
    assert http["seen"] == "403: Invalid Host header: MLflow does not go by the name 127.0.0.1"
    assert f"MLFLOW_PUBLIC_URL={host.url} in /etc/mlflow-host/env" in http["remedy"]
    assert f"MLFLOW_PUBLIC_URL in {tmp_path}/doctor-env line 2" in http["remedy"]


def test_an_artifact_store_that_cannot_be_written(start: Start, tmp_path: Path) -> None:
    host = start("serve")
    host.wait_until_healthy()
    artifacts = tmp_path / "state" / "artifacts"
    artifacts.rmdir()
    artifacts.touch()
    artifact = doctor(tmp_path / "env", "mlflow")["artifact"]
    assert artifact["seen"].startswith("an artifact could not be written: ")
    assert "MLFLOW_ARTIFACTS_DESTINATION in /etc/mlflow-host/env" in artifact["remedy"]
    folders = doctor(tmp_path / "env", "host")["folders"]
    assert f"{artifacts} cannot be written" in folders["seen"]


def made_by(path: Path, *statements: str) -> Path:
    with closing(sqlite3.connect(path)) as connection, connection:
        for statement in statements:
            connection.execute(statement)
    return path


REVISIONS = read_revisions("mlflow", "store/db_migrations/versions")
SCHEMAS = {
    REVISIONS.head: None,
    min(REVISIONS.known - {REVISIONS.head}): "mlflow-host migrate",
    "fffffffffff0": "mlflow-host restore",
}


@pytest.mark.parametrize(("revision", "remedy"), SCHEMAS.items())
def test_the_schema_of_the_database(revision: str, remedy: str | None, tmp_path: Path) -> None:
    path = made_by(
        tmp_path / "mlflow.db",
        "CREATE TABLE experiments (name VARCHAR)",
        "CREATE TABLE alembic_version (version_num VARCHAR)",
        f"INSERT INTO alembic_version VALUES ('{revision}')",
    )
    step = doctor(env_file(tmp_path, f"MLFLOW_BACKEND_STORE_URI=sqlite:///{path}"), "database")
    if remedy is None:
        assert step["schema"]["verdict"] == "passed"
    else:
        assert remedy in step["schema"]["remedy"]


def test_the_database_of_another_program(tmp_path: Path) -> None:
    path = made_by(tmp_path / "mlflow.db", "CREATE TABLE kettles (litres REAL)")
    step = doctor(env_file(tmp_path, f"MLFLOW_BACKEND_STORE_URI=sqlite:///{path}"), "database")
    assert f"MLFLOW_BACKEND_STORE_URI in {tmp_path}/doctor-env line 1" in step["schema"]["remedy"]


def test_a_file_that_is_no_database(tmp_path: Path) -> None:
    path = tmp_path / "mlflow.db"
    path.write_text("This is a letter.\n" * 100)
    step = doctor(env_file(tmp_path, f"MLFLOW_BACKEND_STORE_URI=sqlite:///{path}"), "database")
    assert "file is not a database" in step["schema"]["seen"]


def test_a_database_server_that_is_down_and_no_password_is_told(tmp_path: Path) -> None:
    uri = "postgresql+psycopg://mlflow:s3cret@127.0.0.1:1/mlflow"
    step = doctor(env_file(tmp_path, f"MLFLOW_BACKEND_STORE_URI={uri}"), "database")
    assert step["schema"]["verdict"] == "failed"
    assert f"MLFLOW_BACKEND_STORE_URI in {tmp_path}/doctor-env line 1" in step["schema"]["remedy"]
    assert "s3cret" not in json.dumps(step)


def test_looking_makes_no_database(tmp_path: Path) -> None:
    path = tmp_path / "not" / "yet.db"
    step = doctor(env_file(tmp_path, f"MLFLOW_BACKEND_STORE_URI=sqlite:///{path}"), "database")
    assert step["schema"]["verdict"] == "skipped"
    assert not path.parent.exists()


def test_a_doctor_does_not_wait_for_mlflow_to_be_imported(tmp_path: Path) -> None:
    program = (
        "import sys; from mlflow_host.cli import main; main(standalone_mode=False);"
        " sys.exit('mlflow' in sys.modules)"
    )
    path = env_file(tmp_path, f"MLFLOW_BACKEND_STORE_URI=sqlite:///{tmp_path}/mlflow.db")
    made_by(tmp_path / "mlflow.db", "CREATE TABLE experiments (name VARCHAR)")
    process = subprocess.run(
        [sys.executable, "-c", program, "doctor", "--env-file", path, "--link", "database"],
        env={"PYTHONPATH": os.pathsep.join(map(os.path.abspath, sys.path))},
        capture_output=True,
        check=False,
    )
    assert b"older than this release" in process.stdout, process.stderr
    assert process.returncode == 0


ADMIN_PASSWORD = "MLFLOW_AUTH_ADMIN_PASSWORD"
OTHER = "another password"


def test_a_wrong_password_of_the_admin_is_mended_as_the_doctor_says(
    start: Start, tmp_path: Path
) -> None:
    url = "https://mlflow.example.com"
    host = start("serve", MLFLOW_AUTH="yes", MLFLOW_PUBLIC_URL=url)
    host.wait_until_healthy()
    made = tmp_path / "state" / "secrets" / ADMIN_PASSWORD
    # What MLflow's forms are signed with goes by TLS only, as the URL does.
    page = httpx.get(f"{host.url}/signup", auth=("admin", made.read_text()), timeout=120)
    assert {"Secure", "HttpOnly", "SameSite=Lax"} <= set(page.headers["Set-Cookie"].split("; "))

    lines = f"MLFLOW_AUTH=yes\nMLFLOW_PUBLIC_URL={host.url}\nSTATE_DIRECTORY={tmp_path}/state\n"

    def login(*more: str) -> dict[str, Any]:
        step: dict[str, Any] = doctor(env_file(tmp_path, lines, *more), "mlflow")["login"]
        return step

    assert login()["seen"] == "as admin"
    failed = login(f"{ADMIN_PASSWORD}={OTHER}")
    assert failed["seen"] == "MLflow refuses the account admin (401)"
    assert "users password" not in failed["remedy"]
    assert f"'mlflow-host rotate {ADMIN_PASSWORD}'" in failed["remedy"]
    place = f"{ADMIN_PASSWORD} in {tmp_path}/doctor-env line 5"
    assert f"'systemctl restart mlflow-host' gives the account the password in {place}" in (
        failed["remedy"]
    )
    made.write_text(OTHER)
    remedy = login()["remedy"]
    assert "'mlflow-host users password admin'" in remedy
    assert f"write it into {made}" in remedy

    host.stop()
    again = {"MLFLOW_AUTH_ADMIN_PASSWORD": OTHER, "MLFLOW_PORT": str(host.port)}
    start("serve", MLFLOW_AUTH="yes", MLFLOW_PUBLIC_URL=url, **again).wait_until_healthy()
    assert login(f"{ADMIN_PASSWORD}={OTHER}")["verdict"] == "passed"
