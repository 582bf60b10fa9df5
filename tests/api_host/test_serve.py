"""The real server, in a process of its own."""

import json
import os
import select
import shlex
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import Any

import grpc
import httpx
import numpy as np
import pandas as pd
import pytest
import stamina
from mlflow.pyfunc import scoring_server
from sklearn.neighbors import KNeighborsRegressor

from api_host import cli
from tests.api_host.conftest import save
from tests.api_host.registry_server import RegistryServer
from tests.api_host.test_rpc_door import asking

SERVE = (sys.executable, "-c", f"from {cli.__name__} import main; main()", "serve")
ROW = {"sepal_length": 5.1, "sepal_width": 3.5, "petal_length": 1.4, "petal_width": 0.2}
STOP_SECONDS = 20


ACTIVATE = (
    "import fcntl, os, sys;"
    "fds = [fcntl.fcntl(int(fd), fcntl.F_DUPFD, 100) for fd in sys.argv[1].split(',')];"
    "[os.dup2(fd, place) for place, fd in enumerate(fds, 3)];"
    "os.environ.update(LISTEN_PID=str(os.getpid()), LISTEN_FDS=str(len(fds)));"
    "os.execv(sys.executable, sys.argv[2:])"
)
"""What systemd does: descriptors from 3 listen, and two variables say who they are for."""


def activated(*listeners: socket.socket) -> tuple[str, ...]:
    """The command that serves on sockets of somebody else's."""
    descriptors = ",".join(str(each.fileno()) for each in listeners)
    return (sys.executable, "-c", ACTIVATE, descriptors, *SERVE)


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
    **variables: str,
) -> Iterator[subprocess.Popen[bytes]]:
    """An API in a process of its own, which is gone after the block; it logs to `folder`/log."""
    environment = {
        **os.environ,
        "PYTHONPATH": os.pathsep.join(sys.path),
        "MLFLOW_TRACKING_URI": registry.url,
        "AIRFLOW_BASE_URL": "http://127.0.0.1:9",
        "API_PORT": str(port),
        "STATE_DIRECTORY": str(folder / "state"),
        "API_RATE_REQUESTS": "100000",  # All clients of a test are one caller.
        **variables,
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


def connections_of(process: subprocess.Popen[bytes]) -> int:
    """How many sockets a process has open."""
    sockets = 0
    for entry in Path(f"/proc/{process.pid}/fd").iterdir():
        with suppress(FileNotFoundError):  # Closed meanwhile.
            sockets += str(entry.readlink()).startswith("socket:")
    return sockets


def receive_until(client: socket.socket, part: bytes) -> None:
    answer = b""
    while part not in answer:
        received = client.recv(65536)
        assert received, answer
        answer += received


@pytest.fixture
def slow_model(tmp_path: Path) -> Path:
    """A model that takes a second or more for a few thousand rows."""
    x = pd.DataFrame(np.random.default_rng(0).random((20_000, 4)), columns=list(ROW))
    model = KNeighborsRegressor(n_neighbors=50, algorithm="brute").fit(x, x.sum(axis=1))
    return save(model, tmp_path / "slow", x, input_example=x[:1])


def test_one_that_is_killed_in_the_middle_of_a_download_serves_the_last_good_version(
    registry: RegistryServer, tmp_path: Path, models: Path
) -> None:
    def version(api: httpx.Client) -> str:
        answer = api.post("/v1/models/iris/predict", json={"rows": [ROW]}).raise_for_status()
        found: str = answer.json()["model"]["version"]
        return found

    registry.promote("iris", models / "linear")
    port = free_port()
    with httpx.Client(base_url=f"http://127.0.0.1:{port}") as api:
        with serving(registry, tmp_path, port) as process:
            until_well(api, process, "/readyz")
            registry.pause = True
            registry.promote("iris", models / "forest")
            assert registry.half_sent.wait(30)
            for attempt in stamina.retry_context(on=ValueError, attempts=None, timeout=20):
                with attempt:
                    (half,) = (tmp_path / "state/models/iris").glob(".new-*/model.skops")
            process.kill()
        registry.stop()
        assert half.stat().st_size < (models / "forest/model.skops").stat().st_size
        with serving(registry, tmp_path, port) as process:
            until_well(api, process, "/readyz")
            assert version(api) == "1"
            registry.pause = False
            registry.start()
            for attempt in stamina.retry_context(on=AssertionError, attempts=None, timeout=60):
                with attempt:
                    assert version(api) == "2"
            assert not half.exists()


def test_a_connection_ends_when_its_client_ends_it(
    registry: RegistryServer, tmp_path: Path
) -> None:
    port = free_port()
    url = f"http://127.0.0.1:{port}"
    with serving(registry, tmp_path, port) as process:
        with httpx.Client(base_url=url) as api:
            until_well(api, process, "/livez")
        before = connections_of(process)
        for _ in range(100):
            httpx.get(f"{url}/livez").raise_for_status()
        for attempt in stamina.retry_context(on=AssertionError, attempts=None, timeout=20):
            with attempt:
                assert connections_of(process) < before + 10


def test_more_connections_than_there_may_be_are_told_so(
    registry: RegistryServer, tmp_path: Path
) -> None:
    port = free_port()
    with (
        serving(registry, tmp_path, port, API_MAX_CONNECTIONS="3") as process,
        httpx.Client(base_url=f"http://127.0.0.1:{port}") as api,
        ExitStack() as others,
    ):
        until_well(api, process, "/livez")
        for _ in range(2):
            other = others.enter_context(httpx.Client(base_url=api.base_url))
            assert other.get("/livez").status_code == 200
        refused = httpx.post(f"{api.base_url}/v1/models/none/predict", json={"rows": []})
        assert refused.status_code == 503
        assert refused.headers["Retry-After"] == "1"
        assert refused.headers["Connection"] == "close"
        assert refused.json()["type"] == "urn:tripod:problem:overloaded"
        assert api.get("/livez").status_code == 200
        others.close()
        for attempt in stamina.retry_context(on=AssertionError, attempts=None, timeout=20):
            with attempt:
                assert httpx.get(f"{api.base_url}/livez").status_code == 200


def test_new_clients_are_accepted_while_others_keep_the_host_busy(
    registry: RegistryServer, tmp_path: Path
) -> None:
    port = free_port()
    request = b"GET /livez HTTP/1.1\r\nHost: api\r\n\r\n"
    with (
        serving(registry, tmp_path, port) as process,
        httpx.Client(base_url=f"http://127.0.0.1:{port}") as api,
        ExitStack() as sockets,
    ):
        until_well(api, process, "/livez")
        busy = sockets.enter_context(socket.create_connection(("127.0.0.1", port)))
        process.send_signal(signal.SIGSTOP)
        new = [
            sockets.enter_context(socket.create_connection(("127.0.0.1", port))) for _ in range(300)
        ]
        for each in (*new, busy):
            each.sendall(request)
        process.send_signal(signal.SIGCONT)
        turns = 0
        while new:
            receive_until(busy, b'{"status":"live"}')
            busy.sendall(request)
            turns += 1
            answered, _, _ = select.select(new, (), (), 0)
            new = [each for each in new if each not in answered]
        assert turns < 100


def test_who_only_looks_does_not_wait_for_all_who_came_before(
    registry: RegistryServer, tmp_path: Path
) -> None:
    port = free_port()
    question = b"POST /v1/models/none/predict HTTP/1.1\r\nHost: api\r\nContent-Length: 2\r\n\r\n{}"
    look = b"GET /metrics HTTP/1.1\r\nHost: api\r\n\r\n"
    with (
        serving(registry, tmp_path, port) as process,
        httpx.Client(base_url=f"http://127.0.0.1:{port}") as api,
        ExitStack() as sockets,
    ):
        until_well(api, process, "/livez")
        crowd = [
            sockets.enter_context(socket.create_connection(("127.0.0.1", port))) for _ in range(300)
        ]
        for each in crowd:  # Answered once, it is accepted.
            each.sendall(question)
            receive_until(each, b'"}')
        process.send_signal(signal.SIGSTOP)
        looking, *asking = crowd
        for each in asking:
            each.sendall(question)
        looking.sendall(look)
        process.send_signal(signal.SIGCONT)
        for each in asking:
            receive_until(each, b'"}')
        receive_until(looking, b"python_info")
        process.terminate()
        process.wait(STOP_SECONDS)
    log = (tmp_path / "log").read_text()
    paths = [line.get("path") for line in map(json.loads, log.splitlines())]
    before = paths[: paths.index("/metrics")].count("/v1/models/none/predict") - len(crowd)
    assert before < 100


def test_an_answer_comes_in_one_piece(registry: RegistryServer, tmp_path: Path) -> None:
    port = free_port()
    with (
        serving(registry, tmp_path, port) as process,
        httpx.Client(base_url=f"http://127.0.0.1:{port}") as api,
        ExitStack() as sockets,
    ):
        until_well(api, process, "/livez")
        client = sockets.enter_context(socket.create_connection(("127.0.0.1", port)))
        for _ in range(20):
            client.sendall(b"GET /livez HTTP/1.1\r\nHost: api\r\n\r\n")
            answer = client.recv(4096)
            assert answer.startswith(b"HTTP/1.1 200")
            assert answer.endswith(b'\r\n\r\n{"status":"live"}')
        client.sendall(b"HEAD /livez HTTP/1.1\r\nHost: api\r\nConnection: close\r\n\r\n")
        assert client.recv(4096).endswith(b"\r\n\r\n")
        assert client.recv(4096) == b""


def test_a_body_may_come_in_any_pieces(
    registry: RegistryServer, models: Path, tmp_path: Path
) -> None:
    registry.promote("iris", models / "linear")
    port = free_port()
    body = json.dumps({"rows": [ROW]}).encode()
    head = (
        b"POST /v1/models/iris/predict HTTP/1.1\r\nHost: api\r\nContent-Type: application/json\r\n"
    )
    sized = head + b"Content-Length: %d\r\n\r\n" % len(body)
    chunked = head + b"Transfer-Encoding: chunked\r\n\r\n"
    chunks = [b"%x\r\n%s\r\n" % (len(part), part) for part in (body[:9], body[9:])]
    whole = sized + body
    with (
        serving(registry, tmp_path, port) as process,
        httpx.Client(base_url=f"http://127.0.0.1:{port}") as api,
        ExitStack() as sockets,
    ):
        until_well(api, process, "/readyz")
        client = sockets.enter_context(socket.create_connection(("127.0.0.1", port)))
        client.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        for pieces in (
            [whole],
            [sized, body],
            [sized, body[:9], body[9:]],
            [chunked, *chunks, b"0\r\n\r\n"],
            [chunked + b"".join(chunks) + b"0\r\n\r\n"],
            [whole[:20], whole[20:]],
        ):
            for piece in pieces:
                client.sendall(piece)
                assert httpx.get(f"{api.base_url}/livez").is_success  # It has been seen by then.
            assert b'"predictions":["setosa"]' in client.recv(4096)
        client.sendall(whole + whole)
        answers = b""
        while answers.count(b'"predictions":["setosa"]') < 2:
            received = client.recv(4096)
            assert received, answers
            answers += received


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


def test_so_is_a_taken_port_of_grpc(registry: RegistryServer, tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = str(taken.getsockname()[1])
        with serving(registry, tmp_path, free_port(), API_GRPC_PORT=port) as process:
            assert process.wait(60) == 1
    assert (tmp_path / "log").read_text().strip() == (
        f"error: port {port} of 127.0.0.1 is taken: stop what uses it, or set API_GRPC_PORT to"
        " another"
    )


def is_live(port: int) -> bool:
    """Whether gRPC answers, as soon as it does."""
    with grpc.insecure_channel(f"127.0.0.1:{port}") as channel:
        ask: Any = channel.unary_unary("/inference.GRPCInferenceService/ServerLive")
        return bool(ask(b"", timeout=60, wait_for_ready=True))


def test_workers_share_the_port_of_grpc(registry: RegistryServer, tmp_path: Path) -> None:
    shared = free_port()
    folders = tmp_path / "one", tmp_path / "two"
    with ExitStack() as stack:
        workers = []
        for folder in folders:
            folder.mkdir()
            port = free_port()
            worker = stack.enter_context(
                serving(registry, folder, port, API_GRPC_PORT=str(shared), API_WORKERS="2")
            )
            with httpx.Client(base_url=f"http://127.0.0.1:{port}") as api:
                until_well(api, worker, "/livez")
            workers.append(worker)
        assert is_live(shared)
        workers[0].terminate()
        assert workers[0].wait(STOP_SECONDS) == 0
        assert is_live(shared)


def test_a_folder_that_cannot_be_written_is_one_sentence(
    registry: RegistryServer, tmp_path: Path
) -> None:
    (tmp_path / "state").write_text("a file, not a folder")
    with serving(registry, tmp_path, free_port()) as process:
        assert process.wait(60) == 1
    assert (tmp_path / "log").read_text().startswith("error: STATE_DIRECTORY is ")


def test_a_socket_of_systemd_is_inherited(registry: RegistryServer, tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
        command = activated(listener)
        with (
            serving(registry, tmp_path, port, args=command, pass_fds=(listener.fileno(),)),
            httpx.Client(base_url=f"http://127.0.0.1:{port}") as api,
        ):
            # The request waits in the socket's queue until somebody serves it.
            assert api.get("/livez", timeout=60).status_code == 200


def test_a_socket_of_another_address_is_refused(registry: RegistryServer, tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        listens = listener.getsockname()[1]
        command = activated(listener)
        with serving(registry, tmp_path, 1, args=command, pass_fds=(listener.fileno(),)) as process:
            assert process.wait(60) == 1
    log = (tmp_path / "log").read_text()
    assert log.startswith(
        f"error: systemd listens on 127.0.0.1 port {listens}, but API_HOST is 127.0.0.1 and"
        " API_PORT 1: run 'systemctl daemon-reload'"
    )


def test_so_is_a_socket_of_another_port_of_grpc(registry: RegistryServer, tmp_path: Path) -> None:
    with (
        socket.create_server(("127.0.0.1", 0)) as listener,
        socket.create_server(("127.0.0.1", 0)) as other,
    ):
        port, listens = listener.getsockname()[1], other.getsockname()[1]
        command = activated(listener, other)
        pass_fds = listener.fileno(), other.fileno()
        with serving(registry, tmp_path, port, args=command, pass_fds=pass_fds) as process:
            assert process.wait(60) == 1
    assert (
        (tmp_path / "log")
        .read_text()
        .startswith(
            f"error: systemd listens on 127.0.0.1 port {listens}, but API_HOST is 127.0.0.1 and"
            " API_GRPC_PORT empty: run 'systemctl daemon-reload'"
        )
    )


def test_a_reload_loses_no_request_and_reads_the_env_file_again(
    registry: RegistryServer, models: Path, tmp_path: Path
) -> None:
    registry.promote("iris", models / "linear")
    env_file = tmp_path / "env"
    two = {"rows": [ROW, ROW]}
    with (
        socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as systemd,
        socket.create_server(("127.0.0.1", 0)) as listener,
        socket.create_server(("127.0.0.1", 0)) as grpc_listener,
    ):
        systemd.bind(str(tmp_path / "notify"))
        systemd.settimeout(120)
        port = listener.getsockname()[1]
        grpc_port = grpc_listener.getsockname()[1]
        env_file.write_text(f"API_MAX_ROWS=1\nAPI_GRPC_PORT={grpc_port}\n")
        command = (*activated(listener, grpc_listener), "--env-file", str(env_file))
        with (
            serving(
                registry,
                tmp_path,
                port,
                args=command,
                pass_fds=(listener.fileno(), grpc_listener.fileno()),
                NOTIFY_SOCKET=str(tmp_path / "notify"),
            ) as process,
            httpx.Client(base_url=f"http://127.0.0.1:{port}", timeout=60) as api,
            ThreadPoolExecutor() as threads,
        ):
            until_told(systemd, "READY=1")
            until_well(api, process, "/readyz")
            assert api.post("/v1/models/iris/predict", json=two).status_code == 413
            ended = threading.Event()
            callers: list[Future[Any]] = [threads.submit(call_until, ended, port) for _ in range(4)]
            callers += [
                threads.submit(asking, ("127.0.0.1", grpc_port), ended, keep=keep)
                for keep in (True, True, False)
            ]
            env_file.write_text(f"API_MAX_ROWS=2\nAPI_GRPC_PORT={grpc_port}\n")
            for _ in range(2):
                process.send_signal(signal.SIGHUP)
                until_told(systemd, "RELOADING=1")
                until_told(systemd, "READY=1")
            ended.set()
            assert {status for caller in callers for status in caller.result()} == {200, "OK"}
            assert api.post("/v1/models/iris/predict", json=two).status_code == 200
            env_file.write_text("API_MAX_ROWS=none\n")
            process.send_signal(signal.SIGHUP)
            until_told(systemd, "READY=1")
            assert api.post("/v1/models/iris/predict", json=two).status_code == 200
            process.terminate()
            until_told(systemd, "STOPPING=1")
            assert process.wait(STOP_SECONDS) == 0
    assert "API_MAX_ROWS is 'none'" in (tmp_path / "log").read_text()


def call_until(ended: threading.Event, port: int) -> list[int]:
    """The answers that a client gets which keeps its connection, as long as it is open."""
    with httpx.Client(base_url=f"http://127.0.0.1:{port}", timeout=60) as api:
        statuses = []
        while not ended.is_set():
            answer = api.post("/v1/models/iris/predict", json={"rows": [ROW]})
            statuses.append(answer.status_code)
        return statuses


def until_told(systemd: socket.socket, message: str) -> None:
    while message not in systemd.recv(4096).decode().splitlines():
        pass


@contextmanager
def mlflow_serving(model: Path, port: int) -> Iterator[subprocess.Popen[bytes]]:
    """What `mlflow models serve --env-manager local` starts, which is gone after the block."""
    command, environment = scoring_server.get_cmd(
        str(model), port, "127.0.0.1"  # type: ignore[arg-type]
    )
    environment["PYTHONPATH"] = os.pathsep.join(sys.path)
    args = [sys.executable, "-m", *shlex.split(command)]
    with subprocess.Popen(args, env=environment, stderr=subprocess.DEVNULL) as process:
        try:
            yield process
        finally:
            process.kill()


def test_clients_of_mlflow_models_serve_see_no_change(
    registry: RegistryServer, models: Path, tmp_path: Path
) -> None:
    registry.promote("iris", models / "linear")
    table = pd.DataFrame([ROW, ROW])
    bodies = (
        ("application/json", json.dumps({"dataframe_split": table.to_dict("split")})),
        ("application/json", json.dumps({"dataframe_records": [ROW]})),
        ("application/json", json.dumps({"inputs": table.to_dict("list")})),
        ("application/json", json.dumps({"instances": [ROW | {"sepal_length": float("nan")}]})),
        ("text/csv", table.to_csv(index=False)),
    )
    ports = free_port(), free_port()
    with (
        serving(registry, tmp_path, ports[0]) as our_process,
        mlflow_serving(models / "linear", ports[1]) as their_process,
        httpx.Client(base_url=f"http://127.0.0.1:{ports[0]}", timeout=60) as ours,
        httpx.Client(base_url=f"http://127.0.0.1:{ports[1]}", timeout=60) as theirs,
    ):
        until_well(ours, our_process, "/ping")
        until_well(theirs, their_process, "/ping")
        for path in ("/ping", "/health", "/version"):
            assert ours.get(path).content == theirs.get(path).content
        for content_type, body in bodies:
            answers = [
                server.post("/invocations", content=body, headers={"Content-Type": content_type})
                for server in (ours, theirs)
            ]
            assert answers[0].status_code == answers[1].status_code
            if answers[0].is_success:
                assert answers[0].json() == answers[1].json()
