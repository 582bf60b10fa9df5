import os
import signal
import socket
import stat
import threading
from collections.abc import Iterator
from pathlib import Path

import httpx
import mlflow
import pytest

from tests.mlflow_host.host import Host, Start

# MLflow warns its own developers.
pytestmark = pytest.mark.filterwarnings("ignore")


@pytest.fixture(scope="session")
def client(server: Host) -> mlflow.MlflowClient:
    return mlflow.MlflowClient(tracking_uri=server.url)


def test_the_ui_is_served(server: Host) -> None:
    page = httpx.get(server.url)
    assert page.is_success
    assert "<title>MLflow</title>" in page.text
    assert httpx.get(f"{server.url}/version").text == mlflow.__version__


@pytest.mark.parametrize("host", ["mlflow:5000", "mlflow", "mlflow:443", "10.1.2.3:5000"])
def test_a_client_on_another_machine_is_let_in(server: Host, host: str) -> None:
    answer = httpx.post(
        f"{server.url}/api/2.0/mlflow/experiments/search",
        headers={"Host": host, "Origin": "http://mlflow:5000"},
        json={"max_results": 1},
    )
    assert answer.is_success, answer.text


@pytest.mark.parametrize(
    "headers",
    [{"Host": "evil.example"}, {"Host": "10.evil.example"}, {"Origin": "http://evil.example"}],
)
def test_a_website_is_kept_out(server: Host, headers: dict[str, str]) -> None:
    answer = httpx.post(
        f"{server.url}/api/2.0/mlflow/experiments/search", headers=headers, json={"max_results": 1}
    )
    assert answer.status_code == 403


def test_a_run_and_its_files_come_back(client: mlflow.MlflowClient, tmp_path: Path) -> None:
    experiment = client.create_experiment("round trip")
    run = client.create_run(experiment)
    assert run.info.artifact_uri.startswith("mlflow-artifacts:/")
    client.log_metric(run.info.run_id, "accuracy", 0.97)
    (tmp_path / "notes.bin").write_bytes(os.urandom(100_000))
    client.log_artifact(run.info.run_id, str(tmp_path / "notes.bin"), "below")
    back = client.download_artifacts(run.info.run_id, "below/notes.bin", str(tmp_path / ".."))
    assert Path(back).read_bytes() == (tmp_path / "notes.bin").read_bytes()
    assert client.get_run(run.info.run_id).data.metrics == {"accuracy": 0.97}


def test_a_model_gets_versions_and_an_alias(client: mlflow.MlflowClient) -> None:
    run = client.create_run("0")
    client.create_registered_model("iris")
    for _ in range(2):
        client.create_model_version("iris", f"{run.info.artifact_uri}/model", run.info.run_id)
    client.set_registered_model_alias("iris", "champion", "2")
    assert client.get_model_version_by_alias("iris", "champion").version == "2"


def test_traces_are_taken(server: Host) -> None:
    answer = httpx.post(
        f"{server.url}/v1/traces",
        content=b"",
        headers={"Content-Type": "application/x-protobuf", "x-mlflow-experiment-id": "0"},
    )
    assert answer.status_code == 400  # By its handler: an empty message holds no span.
    assert "span" in answer.text.lower()


def test_state_is_for_the_host_alone(server: Host) -> None:
    database = server.folder / "state" / "mlflow.db"
    assert stat.S_IMODE(database.stat().st_mode) == 0o600
    assert stat.S_IMODE((server.folder / "state" / "artifacts").stat().st_mode) == 0o700


def test_the_log_is_json_and_holds_no_health_checks(server: Host) -> None:
    httpx.get(f"{server.url}/version?token=s3cret", headers={"X-Request-ID": "r-17"})
    request = server.wait_for_event(request_id="r-17")
    events = server.log()
    assert request["event"] == "request"
    assert (request["method"], request["path"], request["status"]) == ("GET", "/version", 200)
    assert "s3cret" not in server.errors
    assert not [event for event in events if event.get("path") == "/health"]
    assert {"event", "level", "logger", "timestamp"} <= set.intersection(*map(set, events))


def test_behind_a_proxy_the_client_is_the_one_that_the_proxy_names(server: Host) -> None:
    # What MLflow keeps for this machine must not be open to everybody behind a proxy on it.
    url = f"{server.url}/ajax-api/3.0/mlflow/assistant/config"
    change: dict[str, dict[str, str]] = {"providers": {}}
    assert httpx.put(url, json=change).status_code != 403
    headers = {"X-Forwarded-For": "203.0.113.5", "X-Request-ID": "r-18"}
    assert httpx.put(url, headers=headers, json=change).status_code == 403
    assert server.wait_for_event(request_id="r-18")["client"] == "203.0.113.5"


def test_memory_does_not_grow_with_a_file(server: Host) -> None:
    megabyte = os.urandom(1 << 20)

    def chunks() -> Iterator[bytes]:
        for _ in range(256):
            yield megabyte

    url = f"{server.url}/api/2.0/mlflow-artifacts/artifacts/big.bin"
    before = peak_megabytes(server)
    assert httpx.put(url, content=chunks(), timeout=120).is_success
    with httpx.stream("GET", url, timeout=120) as answer:
        assert sum(len(chunk) for chunk in answer.iter_bytes()) == 256 << 20
    assert peak_megabytes(server) - before < 64


def peak_megabytes(host: Host) -> int:
    lines = Path(f"/proc/{host.process.pid}/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith("VmHWM")) // 1024


def test_what_is_no_artifact_has_a_limit(server: Host) -> None:
    pieces = (bytes(1 << 20) for _ in range(100))
    answer = httpx.post(f"{server.url}/api/2.0/mlflow/experiments/search", content=pieces)
    assert answer.status_code == 413
    assert answer.json()["detail"] == (
        "A body may have 67108864 bytes here, by MLFLOW_MAX_BODY_BYTES of this server"
    )


@pytest.mark.parametrize(
    "request_",
    [
        b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + bytes(3) + b"\x04" + bytes(5),
        b"GET /health HTTP/1.1\r\nHost: localhost\r\nConnection: Upgrade, HTTP2-Settings\r\n"
        b"Upgrade: h2c\r\nHTTP2-Settings: AAAA\r\n\r\n",
    ],
    ids=["at once", "by an upgrade"],
)
def test_http2_is_not_spoken(server: Host, request_: bytes) -> None:
    with socket.create_connection(("127.0.0.1", server.port), 60) as connection:
        connection.sendall(request_)
        answer = connection.makefile("rb").read()  # It ends.
    assert answer.startswith(b"HTTP/1.1 ")
    assert not answer.startswith(b"HTTP/1.1 101")
    assert b"\0" not in answer


def test_sigterm_lets_an_upload_finish_and_ends_well(start: Start) -> None:
    host = start("serve")
    host.wait_until_healthy()
    begun, terminated = threading.Event(), threading.Event()

    def content() -> Iterator[bytes]:
        yield b"x" * 100_000
        begun.set()
        terminated.wait(20)
        yield b"y" * 100_000

    answers: list[httpx.Response] = []
    url = f"{host.url}/api/2.0/mlflow-artifacts/artifacts/slow.bin"
    upload = threading.Thread(target=lambda: answers.append(httpx.put(url, content=content())))
    with httpx.Client() as idle:
        idle.get(f"{host.url}/version")  # Keeps its connection.
        upload.start()
        assert begun.wait(20)
        host.process.send_signal(signal.SIGTERM)
        while port_is_open(host.port):
            pass
        terminated.set()
        upload.join()
        assert host.process.wait(10) == 0
    assert answers[0].is_success
    assert (host.folder / "state/artifacts/slow.bin").stat().st_size == 200_000
    assert all(event["level"] == "info" for event in host.log())


def test_an_upload_that_is_broken_off_leaves_nothing(server: Host) -> None:
    class BrokenOffError(Exception):
        pass

    def content() -> Iterator[bytes]:
        yield b"x" * 100_000
        raise BrokenOffError

    url = f"{server.url}/api/2.0/mlflow-artifacts/artifacts/broken/off.bin"
    with pytest.raises(BrokenOffError):
        httpx.put(url, content=content())
    event = server.wait_for_event(event="the client broke off its upload")
    assert event["path"] == "/api/2.0/mlflow-artifacts/artifacts/broken/off.bin"
    assert not list((server.folder / "state/artifacts/broken").iterdir())
    assert "ClientDisconnect" not in server.errors


def port_is_open(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0


def test_a_second_start_keeps_what_the_first_one_made(start: Start) -> None:
    for expected in ({"Default"}, {"Default", "kept"}):
        host = start("serve")
        host.wait_until_healthy()
        client = mlflow.MlflowClient(tracking_uri=host.url)
        assert {experiment.name for experiment in client.search_experiments()} == expected
        if "kept" not in expected:
            client.create_experiment("kept")
        assert host.stop() == 0


def test_a_taken_port_is_named(start: Start, server: Host) -> None:
    host = start("serve", MLFLOW_PORT=str(server.port))
    assert host.end() == 1
    assert host.errors == (
        f"error: port {server.port} of 127.0.0.1 is taken by another process: stop it ('ss -ltnp'"
        " names it), or choose another MLFLOW_PORT\n"
    )


def test_a_folder_that_cannot_be_made_is_named(start: Start, tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    host = start("serve", MLFLOW_ARTIFACTS_DESTINATION=str(tmp_path / "file" / "artifacts"))
    assert host.end() == 1
    assert host.errors == (
        f"error: the folder {tmp_path}/file/artifacts cannot be written (Not a directory): make it"
        " writable for this user, or name another one in MLFLOW_ARTIFACTS_DESTINATION\n"
    )


def test_an_address_of_another_machine_is_named(start: Start) -> None:
    host = start("serve", MLFLOW_HOST="203.0.113.9", MLFLOW_PUBLIC_URL="http://mlflow:5000")
    assert host.end() == 1
    assert host.errors.startswith("error: cannot listen on port")
    assert host.errors.endswith("check MLFLOW_HOST and MLFLOW_PORT\n")


def test_migrate_makes_the_schema(start: Start) -> None:
    for sentence in ("is made", "is up to date"):
        host = start("migrate")
        assert host.end() == 0
        assert sentence in (host.folder / "out").read_text()
