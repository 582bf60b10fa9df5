"""Pytest fixtures for tests that need all three hosts, running from their PEX files."""

from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest
from rich.console import Console

from dev_hosts.hosts import Hosts
from dev_hosts.pexes import Pexes
from dev_hosts.ports import free_ports
from dev_hosts.process import kill_descendants
from dev_hosts.progress import Progress


@pytest.fixture(scope="session")
def pexes() -> Pexes:
    """The PEX files, which Pants puts into the folder in which a test runs."""
    return Pexes.within(Path.cwd())


@pytest.fixture(scope="session")
def progress() -> Progress:
    """Tells on standard error what is being waited for; pytest shows it where a test fails."""
    return Progress(Console(stderr=True, width=120))


@pytest.fixture(scope="session")
def hosts(
    pexes: Pexes, progress: Progress, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Hosts]:
    """All three hosts on free ports, healthy, with empty databases, for all tests of a session."""
    try:
        with Hosts(tmp_path_factory.mktemp("hosts"), pexes, free_ports()) as hosts:
            hosts.start(progress)
            yield hosts
    finally:
        kill_descendants()


@pytest.fixture
def api(hosts: Hosts) -> Iterator[httpx.Client]:
    """A client of the API host."""
    with hosts.connect("api") as client:
        yield client


@pytest.fixture
def airflow(hosts: Hosts) -> Iterator[httpx.Client]:
    """A client of the Airflow host that sends the user's name and password with each request."""
    with hosts.connect("airflow") as client:
        client.auth = httpx.BasicAuth(*hosts.credentials)
        yield client


@pytest.fixture
def mlflow(hosts: Hosts) -> Iterator[httpx.Client]:
    """A client of the MLflow host."""
    with hosts.connect("mlflow") as client:
        yield client
