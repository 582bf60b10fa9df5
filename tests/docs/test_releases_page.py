"""The commands of docs/releases.md, run as they are, on files that stand for a release."""

import os
import re
import shutil
import subprocess
from pathlib import Path

import pytest

from tests.lacks import lack

PAGE = Path("docs/releases.md")
FILES = ("airflow_host.pex", "api_host.pex", "mlflow_host.pex")


def block(beginning: str) -> str:
    """The one block of commands that begins so."""
    blocks = re.findall(r"```sh\n(.*?)```", PAGE.read_text(), re.DOTALL)
    (found,) = [text for text in blocks if text.startswith(beginning)]
    return str(found)


def run(folder: Path, commands: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        ["bash", "-euo", "pipefail", "-c", commands],
        cwd=folder,
        env={"HOME": str(folder), "PATH": os.defpath},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        check=False,
    )


def make_key(folder: Path) -> None:
    (folder / ".ssh").mkdir(exist_ok=True)
    # Nobody is there to type a passphrase.
    done = run(folder, block("ssh-keygen -t").replace("-f ", "-N '' -f ", 1))
    assert done.returncode == 0, done.stderr


@pytest.fixture
def release(tmp_path: Path) -> Path:
    """A folder with a release that was signed, and the home of whoever signed it."""
    if shutil.which("ssh-keygen") is None:
        lack("ssh-keygen is missing: apt-get install openssh-client")
    make_key(tmp_path)
    (tmp_path / "dist").mkdir()
    for name in FILES:
        path = tmp_path / "dist" / name
        path.write_text(f'#!/bin/sh\nprintf "bill of %s" {name} > "$3"\n')
        path.chmod(0o755)
    made = run(tmp_path, block("./pants package").replace("./pants package ::", ":"))
    assert made.returncode == 0, made.stderr
    return tmp_path


def check(release: Path) -> subprocess.CompletedProcess[str]:
    return run(release, f"cd dist\n{block('ssh-keygen -Y verify')}")


def test_a_release_is_signed_and_checked(release: Path) -> None:
    (release / "dist/mlflow_host.pex").unlink()  # That is for another server.
    checked = check(release)
    assert checked.returncode == 0, checked.stderr
    assert 'Good "tripod-release" signature for releases' in checked.stdout
    assert "api_host.pex: OK" in checked.stdout
    assert "api_host.cdx.json: OK" in checked.stdout


def test_a_changed_file_is_found(release: Path) -> None:
    with (release / "dist/api_host.pex").open("a") as file:
        file.write("\n")
    checked = check(release)
    assert checked.returncode != 0
    assert "api_host.pex: FAILED" in checked.stdout


def test_a_changed_list_is_found(release: Path) -> None:
    run(release, "cd dist; echo >> api_host.pex; sha256sum *_host.pex *.json > SHA256SUMS")
    checked = check(release)
    assert checked.returncode != 0
    assert "OK" not in checked.stdout


def test_a_signature_of_another_key_or_for_another_purpose_does_not_count(release: Path) -> None:
    signers = (release / ".ssh/tripod-signers").read_text()
    sign = "ssh-keygen -Y sign -f ~/.ssh/tripod-release -n"
    run(release, f"cd dist; rm SHA256SUMS.sig; {sign} file SHA256SUMS")
    assert check(release).returncode != 0
    shutil.rmtree(release / ".ssh")
    make_key(release)
    (release / ".ssh/tripod-signers").write_text(signers)
    run(release, f"cd dist; rm SHA256SUMS.sig; {sign} tripod-release SHA256SUMS")
    assert check(release).returncode != 0
