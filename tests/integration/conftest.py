"""The three hosts, for all tests of this folder."""

import shutil
from pathlib import Path

import pytest

from dev_hosts.fixtures import airflow, api, hosts, mlflow, pexes, progress
from dev_hosts.hosts import Hosts
from dev_hosts.journey import Journey, travel
from dev_hosts.progress import Progress

__all__ = ["airflow", "api", "hosts", "mlflow", "pexes", "progress"]


@pytest.fixture(scope="session")
def journey(hosts: Hosts, progress: Progress) -> Journey:
    """The way of the shipped example, as its first training went it."""
    return travel(hosts, progress)


@pytest.fixture
def tables(hosts: Hosts, tmp_path: Path) -> Path:
    """A folder of this test's own where trainings may read."""
    folder = hosts.state / "airflow" / "tables" / tmp_path.name
    folder.mkdir()
    return folder


@pytest.fixture(scope="session")
def curl() -> str:
    """The path of curl, with which runbooks and the README ask the hosts."""
    path = shutil.which("curl")
    if path is None:
        pytest.fail("this test needs curl: sudo apt-get install --yes curl")
    return path
