"""Ports: a taken one is named with its owner."""

import socket
from collections.abc import Iterator

import pytest

from dev_hosts.errors import DevError
from dev_hosts.ports import LOOPBACK, Ports, check_free, free_ports


@pytest.fixture
def listener() -> Iterator[socket.socket]:
    with socket.create_server((LOOPBACK, 0)) as server:
        yield server


def test_free_ports_are_different_ones_that_are_free() -> None:
    ports = free_ports()
    assert len({ports.mlflow, ports.airflow, ports.api, ports.grpc}) == 4
    check_free(ports)


def test_a_taken_port_is_named_with_its_owner_and_the_way_out(listener: socket.socket) -> None:
    taken = listener.getsockname()[1]
    free = free_ports()
    with pytest.raises(
        DevError, match=rf"port {taken}, wanted for airflow, is taken by process \d+ .*--ports auto"
    ):
        check_free(Ports(free.mlflow, taken, free.api, free.grpc))


def test_all_taken_ports_are_named_at_once(listener: socket.socket) -> None:
    taken = listener.getsockname()[1]
    with pytest.raises(
        DevError, match=r"wanted for mlflow.*wanted for airflow.*wanted for api.*grpc"
    ):
        check_free(Ports(taken, taken, taken, taken))
