"""A real MLflow server: the packaged host, on a free port, with its state in a folder."""

import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path

import httpx
import pytest

PEX = "mlflow_host.pex"
SECONDS_TO_START = 600.0
SECONDS_TO_STOP = 20


@dataclass(frozen=True)
class Server:
    """A server that runs, and the folder of its state."""

    url: str
    folder: Path


@contextmanager
def mlflow_server(folder: Path) -> Iterator[Server]:
    """Runs the server."""
    with closing(socket.socket()) as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    env_file = folder / "env"
    env_file.write_text(
        f"MLFLOW_PORT={port}\n"
        f"MLFLOW_BACKEND_STORE_URI=sqlite:///{folder}/mlflow.db\n"
        f"MLFLOW_ARTIFACTS_DESTINATION={folder}/artifacts\n"
    )
    command = [sys.executable, str(_pex()), "serve", "--env-file", str(env_file)]
    with (folder / "log").open("wb") as log:
        process = subprocess.Popen(
            command,
            env={"PATH": os.environ["PATH"]},
            stdout=log,
            stderr=log,
        )
    try:
        url = f"http://127.0.0.1:{port}"
        _wait_until_healthy(url, process, folder / "log")
        yield Server(url, folder)
    finally:
        process.send_signal(signal.SIGTERM)
        process.wait(SECONDS_TO_STOP)


def _pex() -> Path:
    for folder in (Path.cwd(), Path.cwd() / "dist"):
        if (folder / PEX).exists():
            return folder / PEX
    return pytest.fail(f"{PEX} is missing: run './pants package src/python/mlflow_host:pex' first")


def _wait_until_healthy(url: str, process: subprocess.Popen[bytes], log: Path) -> None:
    deadline = time.monotonic() + SECONDS_TO_START
    while not _is_healthy(url):
        assert process.poll() is None, log.read_text()
        assert time.monotonic() < deadline, log.read_text()
        time.sleep(0.05)


def _is_healthy(url: str) -> bool:
    try:
        return httpx.get(f"{url}/health", timeout=5).is_success
    except httpx.TransportError:
        return False
