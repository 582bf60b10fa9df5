"""The three PEX files as an operator meets them first."""

import hashlib
import json
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest
from cyclonedx.schema import SchemaVersion
from cyclonedx.validation.json import JsonStrictValidator

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
    for command in ("serve", "config", "version", "sbom", "install"):
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


@pytest.mark.parametrize("host", HOSTS)
def test_the_bill_of_materials_is_cyclonedx_and_lists_what_is_inside(
    pexes: Pexes, host: str
) -> None:
    printed = run(pexes, host, "sbom").stdout
    assert JsonStrictValidator(SchemaVersion.V1_6).validate_str(printed) is None
    bill = json.loads(printed)
    wheels = {
        item["properties"][0]["value"]: item["hashes"][0]["content"]
        for item in bill["components"]
        if item["name"] != "pex"
    }
    with zipfile.ZipFile(getattr(pexes, host)) as archive:
        names = sorted(archive.namelist())
        inside = {name.split("/")[1] for name in names if name.startswith(".deps/")} - {""}
        assert set(wheels) == inside
        wheel = next(wheel for wheel in sorted(wheels) if wheel.startswith("click-"))
        assert wheels[wheel] == unpacked_hash(archive, names, f".deps/{wheel}/")


def unpacked_hash(archive: zipfile.ZipFile, names: list[str], folder: str) -> str:
    """The hash of a folder as docs/releases.md says it is worked out."""
    files = [name for name in names if name.startswith(folder) and not name.endswith("/")]
    digest = hashlib.sha256("".join(name.removeprefix(folder) for name in files).encode())
    for name in files:
        digest.update(archive.read(name))
    return digest.hexdigest()


@pytest.mark.parametrize("host", HOSTS)
def test_everything_in_the_bill_of_materials_is_needed_by_the_host(pexes: Pexes, host: str) -> None:
    bill = json.loads(run(pexes, host, "sbom").stdout)
    needs = {item["ref"]: item["dependsOn"] for item in bill["dependencies"]}
    reached, waiting = set(), [f"{host}-host"]
    while waiting:
        ref = waiting.pop()
        if ref not in reached:
            reached.add(ref)
            waiting += needs[ref]
    assert reached == set(needs)
    assert {item["bom-ref"] for item in bill["components"]} <= reached


def test_the_bill_of_materials_is_the_same_from_another_place(pexes: Pexes, tmp_path: Path) -> None:
    bill = run(pexes, "api", "sbom").stdout
    whole = json.loads(bill)["metadata"]["component"]
    sha256 = hashlib.sha256(pexes.api.read_bytes()).hexdigest()
    assert whole["hashes"] == [{"alg": "SHA-256", "content": sha256}]
    revision = json.loads(run(pexes, "api", "version", "--json").stdout)["revision"]
    pedigree = {"commits": [{"uid": revision}]} if revision else None
    assert whole.get("pedigree") == pedigree
    copy = tmp_path / "elsewhere.pex"
    shutil.copyfile(pexes.api, copy)
    output = tmp_path / "api.cdx.json"
    command = [sys.executable, str(copy), "sbom", "--output", str(output)]
    subprocess.run(command, env={"HOME": str(tmp_path), "TZ": "Asia/Kathmandu"}, check=True)
    assert output.read_text() == bill
