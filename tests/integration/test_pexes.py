"""The three PEX files as an operator meets them first."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from dev_hosts.pexes import Pexes

HOSTS = ("mlflow", "airflow", "api")


def run(
    pexes: Pexes, host: str, *arguments: str, **environment: str
) -> subprocess.CompletedProcess[str]:
    """Runs a PEX file with almost no environment, as a service manager does."""
    pex = str(getattr(pexes, host).resolve())
    return subprocess.run(
        [sys.executable, pex, *arguments],
        env={"HOME": str(Path.home()), **environment},
        capture_output=True,
        text=True,
        check=False,
    )


@pytest.mark.parametrize("host", HOSTS)
def test_help_names_every_command(pexes: Pexes, host: str) -> None:
    shown = run(pexes, host, "--help")
    assert shown.returncode == 0
    for command in ("serve", "config", "version"):
        assert command in shown.stdout


@pytest.mark.parametrize(
    ("host", "component"),
    [("mlflow", "mlflow"), ("airflow", "apache-airflow"), ("api", "starlette")],
)
def test_version_tells_what_it_is_made_of(pexes: Pexes, host: str, component: str) -> None:
    version = json.loads(run(pexes, host, "version", "--json").stdout)
    assert version["version"]
    assert version["python"].startswith("3.11")
    assert version["components"][component]


@pytest.mark.parametrize("host", HOSTS)
def test_a_mistake_in_the_env_file_is_one_line_with_file_line_key_and_value(
    pexes: Pexes, host: str, tmp_path: Path
) -> None:
    key = {"mlflow": "MLFLOW_PORT", "airflow": "AIRFLOW__API__PORT", "api": "API_PORT"}[host]
    env_file = tmp_path / "env"
    env_file.write_text(f"# A comment.\n{key}=eighty\n")
    checked = run(pexes, host, "config", "--check", "--env-file", str(env_file))
    assert checked.returncode == 78
    lines = [line for line in checked.stderr.splitlines() if key in line]
    assert len(lines) == 1
    assert f"{key} is 'eighty' in {env_file} line 2" in lines[0]
    assert "Traceback" not in checked.stderr


def test_airflow_says_which_components_there_are(pexes: Pexes) -> None:
    asked = run(pexes, "airflow", "serve")
    assert asked.returncode == 2
    for component in ("api-server", "scheduler", "dag-processor", "triggerer"):
        assert component in asked.stdout + asked.stderr
