import os
import socket
from contextlib import closing
from pathlib import Path
from typing import ClassVar

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import SecretStr

from hostkit.doctor import machine
from hostkit.doctor.machine import Machine
from hostkit.doctor.report import StepReport, Verdict
from hostkit.doctor.steps import examine
from hostkit.doctor.users import user_name
from hostkit.files import AbsolutePath
from hostkit.network import Port
from hostkit.settings import Settings, load

PORTS = ("KETTLE_PORT", "KETTLE_TEA_PORT")


class KettleSettings(Settings):
    host_name: ClassVar[str] = "kettle-host"

    kettle_port: Port = 5000
    kettle_tea_port: Port | None = None
    kettle_folder: AbsolutePath = Path("/var/lib/kettle")
    kettle_password: SecretStr | None = None


def examined(folder: Path, *lines: str, mode: int = 0o600) -> dict[str, StepReport]:
    """The steps on this machine by name; the lines of the env file count from 1."""
    env_file = folder / "env"
    env_file.write_text("\n".join(lines))
    env_file.chmod(mode)
    loaded = load(KettleSettings, env_file=env_file, environment={})
    folders = {"KETTLE_FOLDER": loaded.settings.kettle_folder}
    walk = machine.walk(Machine(loaded, PORTS, folders, "kettle-host.service"))
    (report,) = examine([walk])
    return {step.name: step for step in report.steps}


def seen(step: StepReport, verdict: Verdict) -> str:
    assert step.verdict is verdict, step
    return step.seen


def remedy(step: StepReport) -> str:
    assert (step.verdict, bool(step.meaning)) == (Verdict.FAILED, True), step
    return step.remedy or ""


@pytest.mark.parametrize(
    ("family", "address", "shown"),
    [
        (socket.AF_INET, "127.0.0.1", "127.0.0.1"),
        (socket.AF_INET, "0.0.0.0", "every address"),
        (socket.AF_INET6, "::1", "::1"),
    ],
)
def test_who_listens_on_the_port(
    family: socket.AddressFamily, address: str, shown: str, tmp_path: Path
) -> None:
    with closing(socket.create_server((address, 0), family=family)) as server:
        port = server.getsockname()[1]
        steps = examined(tmp_path, f"KETTLE_PORT={port}", f"KETTLE_FOLDER={tmp_path}")
    user = user_name(os.geteuid())
    assert seen(steps["port"], Verdict.PASSED) == f"{shown} of {user}"


def test_nobody_listens_on_the_port(tmp_path: Path) -> None:
    with closing(socket.socket()) as bound:
        bound.bind(("127.0.0.1", 0))
        port = bound.getsockname()[1]
        steps = examined(tmp_path, "# A comment.", f"KETTLE_PORT={port}")
    assert seen(steps["port"], Verdict.FAILED) == f"nothing listens on port {port}"
    assert "systemctl start kettle-host.service" in remedy(steps["port"])
    assert f"KETTLE_PORT in {tmp_path}/env line 2" in remedy(steps["port"])


def test_each_port_that_is_set_is_looked_at(tmp_path: Path) -> None:
    user = user_name(os.geteuid())
    with closing(socket.create_server(("127.0.0.1", 0))) as server:
        port = server.getsockname()[1]
        with closing(socket.create_server(("127.0.0.1", 0))) as other:
            tea = other.getsockname()[1]
            lines = (f"KETTLE_PORT={port}", f"KETTLE_TEA_PORT={tea}")
            step = examined(tmp_path, *lines)["port"]
            owner = f"127.0.0.1 of {user}"
            assert seen(step, Verdict.PASSED) == f"{port}: {owner}; {tea}: {owner}"
        step = examined(tmp_path, *lines)["port"]
    assert seen(step, Verdict.FAILED) == f"nothing listens on port {tea}"
    assert f"KETTLE_TEA_PORT in {tmp_path}/env line 2" in remedy(step)


@given(address=st.ip_addresses(v=6))
def test_an_address_of_the_kernel_is_read_back(address: object) -> None:
    packed = socket.inet_pton(socket.AF_INET6, str(address))
    kernels = "".join(packed[i : i + 4][::-1].hex().upper() for i in range(0, 16, 4))
    expected = "every address" if str(address) == "::" else str(address)
    assert machine.shown_address(kernels) == expected


def test_room_and_folder_are_told(tmp_path: Path) -> None:
    steps = examined(tmp_path, f"KETTLE_FOLDER={tmp_path}")
    assert "GiB free at" in seen(steps["disk"], Verdict.PASSED)
    assert seen(steps["folders"], Verdict.PASSED) == f"{tmp_path} can be written"


def test_a_disk_without_room(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(machine, "LEAST_FREE_BYTES", 1 << 60)
    monkeypatch.setattr(machine, "LEAST_FREE_SHARE", 1.0)
    steps = examined(tmp_path, f"KETTLE_FOLDER={tmp_path}")
    assert seen(steps["disk"], Verdict.FAILED).startswith("only ")
    assert f"KETTLE_FOLDER in {tmp_path}/env line 1" in remedy(steps["disk"])


def test_a_folder_that_cannot_be_written(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    folder = tmp_path / "file" / "below"
    steps = examined(tmp_path, f"KETTLE_FOLDER={folder}")
    assert f"{folder} cannot be written" in seen(steps["folders"], Verdict.FAILED)
    assert f"KETTLE_FOLDER in {tmp_path}/env line 1" in remedy(steps["folders"])


def test_a_folder_that_the_first_start_makes(tmp_path: Path) -> None:
    steps = examined(tmp_path, f"KETTLE_FOLDER={tmp_path}/not/yet")
    assert steps["folders"].verdict is Verdict.PASSED


def test_a_secret_in_a_file_that_everybody_can_read(tmp_path: Path) -> None:
    line = "KETTLE_PASSWORD=correct horse"
    assert examined(tmp_path, line)["secrets"].verdict is Verdict.PASSED
    step = examined(tmp_path, line, mode=0o644)["secrets"]
    assert "everybody on this machine can read" in seen(step, Verdict.FAILED)
    assert f"chmod o= {tmp_path}/env" in remedy(step)
    assert "correct horse" not in repr(step)
    assert examined(tmp_path, mode=0o644)["secrets"].verdict is Verdict.SKIPPED


def test_a_name_that_looks_misspelt_is_shown(tmp_path: Path) -> None:
    steps = examined(tmp_path, "KETTLE_PROT=1")
    assert "did you mean KETTLE_PORT?" in seen(steps["settings"], Verdict.PASSED)
