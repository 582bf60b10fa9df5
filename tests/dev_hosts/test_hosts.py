"""The state folder of dev mode: one start at a time, and only where there is room."""

import os
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from dev_hosts.errors import DevError
from dev_hosts.hosts import Hosts, make_state
from dev_hosts.pexes import Pexes
from dev_hosts.ports import free_ports

NO_PEXES = Pexes(Path("mlflow"), Path("airflow"), Path("api"))


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    if os.geteuid() != 0:
        pytest.skip("only root can mount a small disk")
    disk = tmp_path / "disk"
    disk.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=8m", "tmpfs", disk], check=True)
    yield disk
    subprocess.run(["umount", disk], check=True)


def test_a_folder_that_is_in_use_is_refused(tmp_path: Path) -> None:
    with Hosts(tmp_path, NO_PEXES, free_ports()):
        second = Hosts(tmp_path, NO_PEXES, free_ports())
        with pytest.raises(DevError, match="is in use by hosts that run"), second:
            pass


def test_a_folder_can_be_used_again_after_its_hosts_stopped(tmp_path: Path) -> None:
    for _ in range(2):
        with Hosts(tmp_path, NO_PEXES, free_ports()) as hosts:
            assert "api" in hosts.names


def test_a_full_disk_is_named_with_what_is_needed(small_disk: Path) -> None:
    with pytest.raises(DevError, match=r"8 MiB free, and 2048 MiB are needed: .*--state"):
        make_state(small_disk / "state")


def test_a_folder_that_cannot_be_made_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(DevError, match=r"file/state cannot be made \(Not a directory\)"):
        make_state(tmp_path / "file" / "state")
