"""The real server, in a process of its own."""

import json
import os
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path

import httpx
import numpy as np
import pandas as pd
import pytest
import stamina
from sklearn.neighbors import KNeighborsRegressor

from api_host import cli
from tests.api_host.conftest import save
from tests.api_host.registry_server import RegistryServer

SERVE = (sys.executable, "-c", f"from {cli.__name__} import main; main()", "serve")
ROW = {"sepal_length": 5.1, "sepal_width": 3.5, "petal_length": 1.4, "petal_width": 0.2}
STOP_SECONDS = 20


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port: int = listener.getsockname()[1]
        return port


@contextmanager
def serving(
    registry: RegistryServer,
    folder: Path,
    port: int,
    *,
    args: tuple[str, ...] = SERVE,
    pass_fds: tuple[int, ...] = (),
) -> Iterator[subprocess.Popen[bytes]]:
    """An API in a process of its own, which is gone after the block; it logs to `folder`/log."""
    environment = {
        **os.environ,
        "PYTHONPATH": os.pathsep.join(sys.path),
        "MLFLOW_TRACKING_URI": registry.url,
        "AIRFLOW_BASE_URL": "http://127.0.0.1:9",
        "API_PORT": str(port),
        "STATE_DIRECTORY": str(folder / "state"),
    }
    with (
        (folder / "log").open("w") as log,
        subprocess.Popen(args, env=environment, stderr=log, pass_fds=pass_fds) as process,
    ):
        try:
            yield process
        finally:
            process.kill()


def until_well(api: httpx.Client, process: subprocess.Popen[bytes], path: str) -> None:
    for attempt in stamina.retry_context(
        on=httpx.HTTPError, attempts=None, timeout=120, wait_initial=0.1, wait_max=0.2
    ):
        with attempt:
            assert process.poll() is None, "the API ended; its log says why"
            api.get(path).raise_for_status()


@pytest.fixture
def slow_model(tmp_path: Path) -> Path:
    """A model that takes a second or more for a few thousand rows."""
    x = pd.DataFrame(np.random.default_rng(0).random((20_000, 4)), columns=list(ROW))
    model = KNeighborsRegressor(n_neighbors=50, algorithm="brute").fit(x, x.sum(axis=1))
    return save(model, tmp_path / "slow", x, input_example=x[:1])


def test_what_is_under_way_is_answered_and_health_is_never_blocked(
    registry: RegistryServer, slow_model: Path, tmp_path: Path
) -> None:
    registry.promote("slow", slow_model)
    port = free_port()
    with (
        serving(registry, tmp_path, port) as process,
        httpx.Client(base_url=f"http://127.0.0.1:{port}", timeout=60) as api,
        ThreadPoolExecutor() as threads,
    ):
        until_well(api, process, "/readyz")
        columns = {name: [value] * 10_000 for name, value in ROW.items()}
        slow = threads.submit(api.post, "/v1/models/slow/predict", json={"columns": columns})
        answered = 0
        with httpx.Client(base_url=api.base_url) as other:
            while not slow.done() and answered < 5:
                assert other.get("/livez").elapsed.total_seconds() < 1
                answered += 1
        assert not slow.done()
        process.send_signal(signal.SIGTERM)
        assert slow.result().status_code == 200
        assert len(slow.result().json()["predictions"]) == 10_000
        assert process.wait(STOP_SECONDS) == 0


def test_logs_are_json_lines_without_bodies(
    registry: RegistryServer, models: Path, tmp_path: Path
) -> None:
    registry.promote("iris", models / "linear")
    port = free_port()
    with (
        serving(registry, tmp_path, port) as process,
        httpx.Client(base_url=f"http://127.0.0.1:{port}") as api,
    ):
        until_well(api, process, "/readyz")
        row = {**ROW, "petal_width": "a secret"}
        headers = {"X-Request-ID": "mine"}
        assert api.post("/v1/models/iris/predict", json={"rows": [row]}).status_code == 422
        good = api.post("/v1/models/iris/predict", json={"rows": [ROW]}, headers=headers)
        assert good.json()["predictions"] == ["setosa"]
        process.terminate()
        process.wait(STOP_SECONDS)
    log = (tmp_path / "log").read_text()
    lines = [json.loads(line) for line in log.splitlines()]
    assert "a secret" not in log
    (line,) = [line for line in lines if line.get("request_id") == "mine"]
    expected = {
        "event": "request",
        "method": "POST",
        "path": "/v1/models/iris/predict",
        "status": 200,
        "model": "iris",
        "version": "1",
    }
    assert expected.items() <= line.items()
    assert line["ms"] > 0


def test_a_body_that_is_too_large_is_answered_by_the_real_server(
    registry: RegistryServer, tmp_path: Path
) -> None:
    port = free_port()
    with (
        serving(registry, tmp_path, port) as process,
        httpx.Client(base_url=f"http://127.0.0.1:{port}", timeout=30) as api,
    ):
        until_well(api, process, "/livez")
        answer = api.post("/v1/trainings", content=b" " * 17 * 1024 * 1024)
        assert answer.status_code == 413
        assert answer.headers["Content-Type"] == "application/problem+json"


def test_a_taken_port_is_one_sentence(registry: RegistryServer, tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        with serving(registry, tmp_path, port) as process:
            assert process.wait(60) == 1
    assert (tmp_path / "log").read_text().strip() == (
        f"error: port {port} of 127.0.0.1 is taken: stop what uses it, or set API_PORT to another"
    )


def test_a_folder_that_cannot_be_written_is_one_sentence(
    registry: RegistryServer, tmp_path: Path
) -> None:
    (tmp_path / "state").write_text("a file, not a folder")
    with serving(registry, tmp_path, free_port()) as process:
        assert process.wait(60) == 1
    assert (tmp_path / "log").read_text().startswith("error: STATE_DIRECTORY is ")


def test_a_socket_of_systemd_is_inherited(registry: RegistryServer, tmp_path: Path) -> None:
    # What systemd does: descriptor 3 listens, and two variables say who it is for.
    activate = (
        "import os, sys; os.dup2(int(sys.argv[1]), 3);"
        "os.environ.update(LISTEN_PID=str(os.getpid()), LISTEN_FDS='1');"
        "os.execv(sys.executable, sys.argv[2:])"
    )
    with socket.create_server(("127.0.0.1", 0)) as listener:
        command = (sys.executable, "-c", activate, str(listener.fileno()), *SERVE)
        with (
            serving(registry, tmp_path, 1, args=command, pass_fds=(listener.fileno(),)),
            httpx.Client(base_url=f"http://127.0.0.1:{listener.getsockname()[1]}") as api,
        ):
            # The request waits in the socket's queue until somebody serves it.
            assert api.get("/livez", timeout=60).status_code == 200
