"""The TCP ports of the three hosts on this machine."""

import socket
from contextlib import ExitStack
from dataclasses import dataclass, fields

import psutil

from dev_hosts.errors import DevError

LOOPBACK = "127.0.0.1"


@dataclass(frozen=True)
class Ports:
    """One TCP port a host, on the loopback address, and the one of the API's gRPC."""

    mlflow: int = 5000
    airflow: int = 8080
    api: int = 8000
    grpc: int = 8001


def free_ports() -> Ports:
    """Ports that nothing listens on now."""
    with ExitStack() as sockets:
        numbers = {}
        for host in fields(Ports):
            listener = sockets.enter_context(socket.socket())
            listener.bind((LOOPBACK, 0))
            numbers[host.name] = listener.getsockname()[1]
    return Ports(**numbers)


def check_free(ports: Ports) -> None:
    """Raises `DevError`, which names every port that is taken and by what."""
    taken = []
    for host in fields(Ports):
        port = getattr(ports, host.name)
        with socket.socket() as listener:
            # As the servers do: a port that only lingers from a connection just closed is free.
            listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                listener.bind((LOOPBACK, port))
            except OSError:
                taken.append(f"port {port}, wanted for {host.name}, is taken{_owner(port)}")
    if taken:
        raise DevError("; ".join(taken) + ": stop what listens there, or use --ports auto")


def _owner(port: int) -> str:
    try:
        connections = psutil.net_connections("tcp")
    except psutil.AccessDenied:
        return ""
    for connection in connections:
        listens = connection.status == psutil.CONN_LISTEN and connection.laddr[1:] == (port,)
        if listens and connection.pid:
            return f" by process {connection.pid} ({_command(connection.pid)})"
    return ""


def _command(pid: int) -> str:
    try:
        return " ".join(psutil.Process(pid).cmdline())[:80] or "unknown"
    except psutil.Error:
        return "unknown"
