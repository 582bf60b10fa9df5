"""An API as its doctor sees it: its copies, and itself as callers see it."""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import httpx
import pytest
from click.testing import CliRunner

from api_host.cli import main
from tests.api_host.registry_server import RegistryServer
from tests.api_host.test_serve import free_port, serving, until_well

HEAVY = ("sklearn", "pandas", "numpy", "skops")


def doctor(link: str, env_file: Path) -> dict[str, Any]:
    """The steps of one link by name."""
    result = CliRunner().invoke(
        main, ["doctor", "--env-file", str(env_file), "--link", link, "--json"]
    )
    report = json.loads(result.stdout)
    assert result.exit_code == (0 if report["well"] else 1)
    return {step["name"]: step for step in report["links"][0]["steps"]}


def env_file(folder: Path, **variables: object) -> Path:
    path = folder / "env"
    variables.setdefault("STATE_DIRECTORY", folder / "state")
    path.write_text("".join(f"{name}={value}\n" for name, value in variables.items()))
    return path


def test_a_prediction_from_the_example_of_the_model_and_its_copy(
    registry: RegistryServer, models: Path, tmp_path: Path
) -> None:
    registry.promote("iris", models / "linear")
    port = free_port()
    path = env_file(tmp_path, API_PORT=port)
    with (
        serving(registry, tmp_path, port) as process,
        httpx.Client(base_url=f"http://127.0.0.1:{port}") as api,
    ):
        until_well(api, process, "/readyz")
        steps = doctor("api", path)
    assert steps["prediction"]["seen"] == "iris predicts setosa"
    assert all(step["verdict"] in ("passed", "skipped") for step in steps.values())
    assert doctor("models", path)["copies"]["seen"] == "iris version 1"

    (copy,) = (tmp_path / "state").glob("models/iris/1-*/MLmodel")
    copy.write_text("something else")
    copies = doctor("models", path)["copies"]
    assert "MLmodel is not what was downloaded" in copies["seen"]
    assert "systemctl restart api-host" in copies["remedy"]
    assert copy.exists()


def test_no_model_yet_is_no_failure(registry: RegistryServer, tmp_path: Path) -> None:
    port = free_port()
    path = env_file(tmp_path, API_PORT=port)
    with (
        serving(registry, tmp_path, port) as process,
        httpx.Client(base_url=f"http://127.0.0.1:{port}") as api,
    ):
        until_well(api, process, "/livez")
        prediction = doctor("api", path)["prediction"]
    assert prediction["verdict"] == "skipped"
    assert "no model is served yet" in prediction["seen"]
    assert doctor("models", path)["copies"]["verdict"] == "skipped"


@pytest.mark.parametrize("link", ["mlflow", "airflow", "api"])
def test_a_server_that_is_stopped(link: str, tmp_path: Path) -> None:
    port = free_port()
    url = f"http://127.0.0.1:{port}"
    path = env_file(tmp_path, MLFLOW_TRACKING_URI=url, AIRFLOW_BASE_URL=url, API_PORT=port)
    tcp = doctor(link, path)["tcp"]
    assert tcp["seen"] == f"127.0.0.1 port {port} refuses connections"
    variable, line = {
        "mlflow": ("MLFLOW_TRACKING_URI", 1),
        "airflow": ("AIRFLOW_BASE_URL", 2),
        "api": ("API_PORT", 3),
    }[link]
    assert f"{variable} in {path} line {line}" in tcp["remedy"]


def test_a_doctor_does_not_wait_for_scikit_learn(tmp_path: Path) -> None:
    program = (
        "import sys; from api_host.cli import main; main(standalone_mode=False);"
        f" sys.exit(bool(sys.modules.keys() & {set(HEAVY)!r}))"
    )
    process = subprocess.run(
        [sys.executable, "-c", program, "doctor", "--env-file", env_file(tmp_path, API_PORT=1)],
        env={"PYTHONPATH": os.pathsep.join(map(os.path.abspath, sys.path))},
        capture_output=True,
        check=False,
    )
    assert b"api-host is not well" in process.stdout, process.stderr
    assert process.returncode == 0
