import json
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import ClassVar

import click
import pytest
from click.testing import CliRunner, Result

from hostkit.cli import HostGroup
from hostkit.definition import Contents, Definition, Entrance
from hostkit.doctor.cli import add_commands
from hostkit.doctor.report import Report
from hostkit.doctor.steps import Fault, Step, Walk
from hostkit.network import Port
from hostkit.settings import Loaded, Settings


class KettleSettings(Settings):
    host_name: ClassVar[str] = "kettle-host"

    kettle_port: Port = 5000
    kettle_water: Path = Path("/nowhere")


def _walks(loaded: Loaded[KettleSettings]) -> tuple[Walk, ...]:
    def water() -> str:
        if loaded.settings.kettle_water.exists():
            return "there is some"
        raise Fault("it is dry", "Nobody filled it.", f"Fill {loaded.place('KETTLE_WATER')}.")

    return (
        Walk("kettle", "the kettle", (Step("water", water),)),
        Walk("plug", "the plug", (Step("socket", lambda: "it is in"),)),
    )


@click.group(cls=HostGroup)
def main() -> None:
    """Kettle."""


add_commands(
    main,
    Definition(
        settings=KettleSettings,
        distributions=("click",),
        unit="kettle-host.service",
        contents=lambda _: Contents(),
        entrance=lambda _: Entrance(None, "KETTLE_URL", "127.0.0.1", 1, None, 1),
        walks=_walks,
    ),
)


def doctor(folder: Path, *arguments: str) -> Result:
    env_file = folder / "env"
    if not env_file.exists():
        env_file.write_text(f"\nKETTLE_WATER={folder}/water\n")
    return CliRunner().invoke(main, ["doctor", "--env-file", str(env_file), *arguments])


def test_all_is_well(tmp_path: Path) -> None:
    (tmp_path / "water").touch()
    result = doctor(tmp_path)
    assert (result.exit_code, result.stderr) == (0, "")
    assert "✓ water         there is some" in result.stdout
    assert result.stdout.endswith("kettle-host is well.\n")


def test_a_failure_names_the_line_and_is_the_exit_code(tmp_path: Path) -> None:
    result = doctor(tmp_path)
    assert result.exit_code == 1
    assert "✗ water         it is dry" in result.stdout
    assert f"Fill KETTLE_WATER in {tmp_path}/env line 2." in " ".join(result.stdout.split())
    assert "\x1b[" not in result.stdout


def test_json_for_machines(tmp_path: Path) -> None:
    result = doctor(tmp_path, "--json")
    assert result.exit_code == 1
    report = Report.from_json(result.stdout)
    assert [(link.name, link.well) for link in report.links] == [("kettle", False), ("plug", True)]


def test_only_one_link(tmp_path: Path) -> None:
    result = doctor(tmp_path, "--link", "plug")
    assert result.exit_code == 0
    assert "water" not in result.stdout


def test_a_link_that_is_not_there(tmp_path: Path) -> None:
    result = doctor(tmp_path, "--link", "lid")
    assert result.exit_code == 1
    assert "write one of kettle, plug" in result.stderr


@pytest.mark.parametrize("arguments", [(), ("--json",)])
def test_wrong_settings_are_what_a_doctor_finds_first(
    arguments: tuple[str, ...], tmp_path: Path
) -> None:
    (tmp_path / "env").write_text("KETTLE_PORT=much\n")
    result = doctor(tmp_path, *arguments)
    assert result.exit_code == 1
    assert f"KETTLE_PORT is 'much' in {tmp_path}/env line 1" in " ".join(result.stdout.split())


@contextmanager
def watching(folder: Path, *arguments: str) -> Iterator["subprocess.Popen[str]"]:
    """A doctor in a process of its own, which is killed if it lives too long."""
    (folder / "env").write_text(f"KETTLE_WATER={folder}/water\n")
    program = "from tests.hostkit.doctor.test_command import main; main()"
    command = [sys.executable, "-c", program, "doctor", "--env-file", str(folder / "env")]
    with subprocess.Popen(
        [*command, "--watch", "1", *arguments],
        stdout=subprocess.PIPE,
        text=True,
        env={"PYTHONPATH": ":".join(sys.path), "PYTHONUNBUFFERED": "1"},
    ) as process:
        watchdog = threading.Timer(60, process.kill)
        watchdog.start()
        try:
            yield process
        finally:
            watchdog.cancel()
            process.kill()


def test_watching_tells_what_changes_until_ctrl_c(tmp_path: Path) -> None:
    with watching(tmp_path) as process:
        assert process.stdout
        while "is not well" not in process.stdout.readline():
            assert process.poll() is None
        (tmp_path / "water").touch()
        assert "kettle       ✓ water" in process.stdout.readline()
        process.send_signal(signal.SIGINT)
        assert process.wait(30) == 0


def test_watching_for_machines_is_a_line_a_report(tmp_path: Path) -> None:
    with watching(tmp_path, "--json") as process:
        assert process.stdout
        assert not json.loads(process.stdout.readline())["well"]
        (tmp_path / "water").touch()
        while not json.loads(process.stdout.readline())["well"]:
            assert process.poll() is None
        process.send_signal(signal.SIGINT)
        assert process.wait(30) == 0
