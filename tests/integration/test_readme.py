"""Every command of the README does what the README says."""

import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest

from dev_hosts.hosts import Hosts
from dev_hosts.pexes import Pexes

README = Path("README.md").read_text()
COMMANDS = [
    line
    for block in re.findall(r"```sh\n(.*?)```", README, re.DOTALL)
    for line in block.strip().splitlines()
]
PEX = re.compile(r"dist/(mlflow|airflow|api)_host\.pex (.*)")


def commands(beginning: str) -> list[str]:
    """The README's commands that begin so."""
    return [command for command in COMMANDS if command.startswith(beginning)]


def test_every_command_is_run_by_one_of_the_tests_below() -> None:
    assert set(COMMANDS) == {*commands("./"), *commands("curl "), *commands("dist/")}
    assert len(COMMANDS) >= 8


@pytest.mark.parametrize("command", commands("./"))
def test_what_builds_and_starts_is_run_by_ci(command: str) -> None:
    assert re.search(rf"{re.escape(command)}(?= |$)", Path(".ci/run").read_text(), re.MULTILINE)


@pytest.mark.usefixtures("journey")
@pytest.mark.parametrize("command", commands("curl "))
def test_what_asks_a_host_gets_its_answer(hosts: Hosts, curl: str, command: str) -> None:
    here = command.replace("http://127.0.0.1:8000", hosts.urls["api"])
    assert here != command
    answer = subprocess.run(
        [curl, *shlex.split(here)[1:], "--silent", "--show-error", "--noproxy", "*"],
        capture_output=True,
        text=True,
        check=False,
    )
    assert answer.returncode == 0, answer.stderr
    if "5.1" in command:
        assert '"predictions"' in answer.stdout
        assert "setosa" in answer.stdout


@pytest.mark.parametrize("command", commands("dist/"))
def test_what_runs_a_pex_ends_well(pexes: Pexes, command: str) -> None:
    match = PEX.fullmatch(command)
    assert match is not None
    pex = str(getattr(pexes, match[1]).resolve())
    ended = subprocess.run(
        [sys.executable, pex, *match[2].split()],
        env={"HOME": str(Path.home())},
        capture_output=True,
        text=True,
        check=False,
    )
    assert ended.returncode == 0, ended.stderr
    assert ended.stdout
