import subprocess
import sys
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from airflow_host.cli import main
from airflow_host.components import Component

ENV_FILE = """\
AIRFLOW_PUBLIC_URL=http://airflow:8080
MLFLOW_TRACKING_URI=http://mlflow:5000
API_SERVER_URL=http://api:8000
AIRFLOW_PASSWORD=airflow
"""


def run(*arguments: str) -> Result:
    return CliRunner().invoke(main, arguments)


def test_serve_alone_says_which_four_there_are() -> None:
    result = run("serve")
    assert result.exit_code == 2
    for component in ("api-server", "scheduler", "dag-processor", "triggerer"):
        assert component in result.stderr


def test_serve_something_else_does_too() -> None:
    assert run("serve", "webserver").exit_code == 2


@pytest.mark.parametrize("component", Component)
def test_each_component_says_what_it_does(component: Component) -> None:
    assert component.purpose[:30] in run("serve", component, "--help").stdout


def test_help_fits_a_terminal() -> None:
    result = run("--help")
    assert result.exit_code == 0
    assert "config --check" in result.stdout
    assert all(len(line) <= 80 for line in result.stdout.splitlines())


def test_a_right_env_file_passes_silently(tmp_path: Path) -> None:
    env_file = tmp_path / "env"
    env_file.write_text(ENV_FILE)
    result = run("config", "--check", "--env-file", str(env_file))
    assert (result.exit_code, result.output) == (0, "")


@pytest.mark.parametrize("command", [("serve", "api-server"), ("migrate",), ("config",)])
def test_a_wrong_env_file_is_told_without_a_traceback(
    tmp_path: Path, command: tuple[str, ...]
) -> None:
    env_file = tmp_path / "env"
    env_file.write_text(ENV_FILE + "AIRFLOW__API__HOST=0.0.0.0\n")
    result = run(*command, "--env-file", str(env_file))
    assert result.exit_code == 78
    assert result.stderr.startswith("error: AIRFLOW_PASSWORD is the user name")


def test_version_names_what_the_host_is_made_of() -> None:
    output = run("version").stdout
    for name in ("apache-airflow", "apache-airflow-providers-fab", "mlflow-skinny"):
        assert f"  {name} " in output


def test_the_command_line_starts_without_airflow() -> None:
    code = "import sys; import airflow_host.cli; print('airflow' in sys.modules)"
    process = subprocess.run(
        [sys.executable, "-c", code],
        env={"PYTHONPATH": ":".join(path for path in sys.path if path)},
        capture_output=True,
        text=True,
        check=True,
    )
    assert process.stdout == "False\n"
