"""systemd understands every unit, and finds little that it may do."""

import json
import shutil
import subprocess
from pathlib import Path

import pytest

from tests.deploy import generator
from tests.deploy.units import HOSTS, put_in_place, services, units, values
from tests.lacks import lack

MOST_EXPOSURE = 1.5
NO_SUBSTITUTE = {
    "AIRFLOW__API__SECRET_KEY",
    "AIRFLOW__API_AUTH__JWT_SECRET",
    "AIRFLOW__CORE__FERNET_KEY",
    "AIRFLOW__DATABASE__SQL_ALCHEMY_CONN",
    "AIRFLOW_API_PASSWORD",
    "MLFLOW_AUTH_ADMIN_PASSWORD",
    "MLFLOW_BACKEND_STORE_URI",
    "MLFLOW_FLASK_SERVER_SECRET_KEY",
    "MODEL_SIGNING_KEY",
}
"""What `install` makes, and the databases: another value, or none, would do harm quietly."""

SERVICES = [service for host in HOSTS for service in services(host)]


@pytest.fixture(scope="module", autouse=True)
def systemd_analyze() -> None:
    if not shutil.which("systemd-analyze"):
        lack("systemd-analyze is not here: apt-get install systemd")


def analyze(root: Path, *words: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        ["systemd-analyze", f"--root={root}", *words],
        cwd=root / "usr/local/lib/systemd/system",
        capture_output=True,
        text=True,
        check=False,
    )


def boot(host: str, root: Path) -> list[str]:
    """A server as systemd finds it at boot, with the unit that the generator makes."""
    names = put_in_place(host, root)
    if host == "api-host":
        generator.write_socket(root / "etc/systemd/system", {})
    return names


@pytest.mark.parametrize("host", HOSTS)
def test_systemd_has_nothing_to_say_of_any_unit(host: str, tmp_path: Path) -> None:
    names = boot(host, tmp_path)
    result = analyze(tmp_path, "verify", "--man=no", *names)
    assert (result.stdout, result.stderr, result.returncode) == ("", "", 0)


@pytest.mark.parametrize("host", HOSTS)
def test_all_that_is_started_at_boot_can_be_put_in_order(host: str, tmp_path: Path) -> None:
    names = boot(host, tmp_path)
    installable = [name for name in names if "@" not in name]
    enable = ["systemctl", f"--root={tmp_path}", "--quiet", "enable", *installable]
    subprocess.run(enable, check=True)
    result = analyze(tmp_path, "verify", "--man=no", "multi-user.target")
    assert (result.stdout, result.stderr, result.returncode) == ("", "", 0)


@pytest.mark.parametrize("service", SERVICES, ids=lambda service: service.name)
def test_a_service_exposes_little(service: Path, tmp_path: Path) -> None:
    put_in_place(service.parent.name, tmp_path)
    result = analyze(
        tmp_path,
        "security",
        "--offline=true",
        f"--threshold={round(MOST_EXPOSURE * 10)}",
        "--json=short",
        service.name,
    )
    exposed = [
        f"{finding['name'] or finding['json_field']} {finding['exposure']}"
        for finding in json.loads(result.stdout)
        if finding["set"] is False
    ]
    assert result.returncode == 0, exposed


@pytest.mark.parametrize("service", SERVICES, ids=lambda service: service.name)
def test_a_secret_is_a_file_of_its_own_name_and_in_no_unit(service: Path) -> None:
    host = service.parent.name
    for credential in values(service, "LoadCredential"):
        name, _, file = credential.partition(":")
        assert file == f"/etc/{host}/credentials/{name}"
    for variable in values(service, "Environment"):
        assert not any(word in variable for word in ("KEY", "PASSWORD", "SECRET", "TOKEN"))


@pytest.mark.parametrize("service", SERVICES, ids=lambda service: service.name)
def test_only_what_has_no_substitute_must_be_there_for_a_start(service: Path) -> None:
    loaded = {text.partition(":")[0] for text in values(service, "LoadCredential")}
    needed = loaded - {name.removesuffix(":\\n") for name in values(service, "SetCredential")}
    made = NO_SUBSTITUTE | (
        {"AIRFLOW_PASSWORD"} if service.parent.name == "airflow-host" else set()
    )
    assert needed == loaded & made
    assert all(text.endswith(":\\n") for text in values(service, "SetCredential"))


@pytest.mark.parametrize("host", HOSTS)
def test_a_service_that_stays_is_started_again_for_ever(host: str) -> None:
    lasting = [path for path in services(host) if values(path, "Type") == ["notify"]]
    assert lasting
    for service in lasting:
        assert values(service, "Restart") == ["always"]
        assert values(service, "StartLimitIntervalSec") == ["0"]
        for limit in ("WatchdogSec", "MemoryMax", "TasksMax", "TimeoutStopSec"):
            assert values(service, limit), f"{service.name} has no {limit}"


@pytest.mark.parametrize("host", HOSTS)
def test_the_password_of_an_admin_is_for_those_who_need_it(host: str) -> None:
    given = {
        unit.name
        for unit in units(host)
        if any(text.startswith("AIRFLOW_PASSWORD:") for text in values(unit, "LoadCredential"))
    }
    assert (
        given
        == {
            "airflow-host": {"airflow-host-api-server.service", "airflow-host-backup.service"},
            "api-host": {"api-host.service", "api-host@.service", "api-host-backup.service"},
            "mlflow-host": set(),
        }[host]
    )
