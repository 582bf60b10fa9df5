"""Hosts for the tests: one for all of them, and as many others as a test starts."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.mlflow_host.host import Host, Start, start_host


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Start]:
    """Starts hosts below the test's own folder, and stops what is left of them."""
    hosts: list[Host] = []

    def start_one(*command: str, **variables: str) -> Host:
        hosts.append(start_host(tmp_path, *command, **variables))
        return hosts[-1]

    yield start_one
    for host in hosts:
        host.process.kill()
        host.process.wait()


@pytest.fixture(scope="session")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Host]:
    """One server for all tests that do not need their own."""
    host = start_host(
        tmp_path_factory.mktemp("server"), "serve", MLFLOW_PUBLIC_URL="http://mlflow:5000"
    )
    try:
        host.wait_until_healthy()
        yield host
    finally:
        host.process.kill()
        host.process.wait()
