"""Real faults on loopback: each is named, with the line that mends it."""

import datetime as dt
import json
import socket
from contextlib import ExitStack, closing
from email.utils import format_datetime
from pathlib import Path
from typing import ClassVar

import pytest
from pydantic import SecretStr

from hostkit.doctor import connection, mlflow
from hostkit.doctor.connection import Target
from hostkit.doctor.report import StepReport, Verdict, WalkReport
from hostkit.doctor.steps import examine
from hostkit.link import Link
from hostkit.network import HttpUrl
from hostkit.servers import MLFLOW
from hostkit.settings import Settings, load
from tests.hostkit.doctor.certificates import DAY, Authority
from tests.hostkit.doctor.strangers import EXPERIMENTS, Answer, answering

MODELS = "/api/2.0/mlflow/registered-models/search"
MLFLOWS_ANSWER = Answer(body='{"experiments": []}', headers={"Content-Type": "application/json"})


class CallerSettings(Settings):
    host_name: ClassVar[str] = "caller-host"

    mlflow_tracking_uri: HttpUrl


NOBODY = mlflow.Account("api", None, "MLFLOW_TRACKING_PASSWORD", "users add-service api")


@pytest.fixture(autouse=True)
def _no_proxies(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("http_proxy", "https_proxy", "all_proxy", "SSL_CERT_FILE"):
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.upper(), raising=False)


@pytest.fixture
def authority(tmp_path: Path) -> Authority:
    return Authority.new("ours", tmp_path)


def walked(url: str, folder: Path, *lines: str, account: mlflow.Account = NOBODY) -> WalkReport:
    """What a doctor finds on the way to `url`, which is in line 2 of the env file."""
    env_file = folder / "env"
    env_file.write_text("\n".join(["# A comment.", f"MLFLOW_TRACKING_URI={url}", *lines]))
    loaded = load(CallerSettings, env_file=env_file, environment={})
    target = Target(Link(MLFLOW, url, "MLFLOW_TRACKING_URI"), loaded)
    (report,) = examine([mlflow.walk(target, account)])
    return report


def fault(report: WalkReport, step: str) -> StepReport:
    """The last step, which is the one that failed."""
    failed = report.steps[-1]
    assert (failed.name, failed.verdict) == (step, Verdict.FAILED), report
    assert all(done.verdict is not Verdict.FAILED for done in report.steps[:-1])
    return failed


def setting(folder: Path) -> str:
    return f"MLFLOW_TRACKING_URI in {folder}/env line 2"


def remedy(failed: StepReport) -> str:
    assert failed.meaning
    assert failed.remedy
    return failed.remedy


def test_an_unknown_name(tmp_path: Path) -> None:
    failed = fault(walked("http://mlflow.invalid:5000", tmp_path), "name")
    assert failed.seen == "the name mlflow.invalid is unknown"
    assert setting(tmp_path) in remedy(failed)
    assert "/etc/hosts" in remedy(failed)


def test_a_port_where_nobody_listens(tmp_path: Path) -> None:
    with closing(socket.socket()) as taken:
        taken.bind(("127.0.0.1", 0))
        port = taken.getsockname()[1]
        failed = fault(walked(f"http://127.0.0.1:{port}", tmp_path), "tcp")
    assert failed.seen == f"127.0.0.1 port {port} refuses connections"
    assert "systemctl status mlflow-host.service" in remedy(failed)
    assert "/etc/mlflow-host/env" in remedy(failed)
    assert setting(tmp_path) in remedy(failed)


def test_packets_that_are_dropped(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(connection, "TIMEOUT_SECONDS", 0.3)
    with ExitStack() as stack:
        # The kernel drops what knocks while the queue of a listener is full.
        server = stack.enter_context(closing(socket.create_server(("127.0.0.1", 0), backlog=0)))
        port = server.getsockname()[1]
        stack.enter_context(socket.create_connection(("127.0.0.1", port)))
        failed = fault(walked(f"http://127.0.0.1:{port}", tmp_path), "tcp")
    assert failed.seen == f"127.0.0.1 port {port} did not answer the connection"
    assert "firewall" in (failed.meaning or "")
    assert "mlflow-host config firewall" in remedy(failed)
    assert setting(tmp_path) in remedy(failed)


def test_a_server_that_accepts_and_never_answers(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(connection, "TIMEOUT_SECONDS", 0.3)
    with closing(socket.create_server(("127.0.0.1", 0))) as server:
        url = f"http://127.0.0.1:{server.getsockname()[1]}"
        failed = fault(walked(url, tmp_path), "http")
    assert failed.seen == f"{url} did not answer in time"
    assert "journalctl -u mlflow-host.service" in remedy(failed)
    assert setting(tmp_path) in remedy(failed)


def test_a_server_that_hangs_up(tmp_path: Path) -> None:
    with answering({"*": Answer(200, headers={"Content-Length": "99"})}) as port:
        failed = fault(walked(f"http://127.0.0.1:{port}", tmp_path), "http")
    assert failed.seen == f"http://127.0.0.1:{port} hung up without an answer"
    assert setting(tmp_path) in remedy(failed)


def test_a_trusted_certificate_and_how_long_it_is_valid(
    tmp_path: Path, authority: Authority
) -> None:
    certificate = authority.sign("localhost")
    with answering(
        {EXPERIMENTS: MLFLOWS_ANSWER, MODELS: Answer(), "/version": Answer(body="3.1.0")},
        certificate,
    ) as port:
        url = f"https://localhost:{port}"
        report = walked(url, tmp_path, f"SSL_CERT_FILE={authority.file}")
    tls = report.steps[2]
    assert tls.verdict is Verdict.PASSED
    assert "for localhost" in tls.seen
    assert "(29 days left), by ours" in tls.seen
    fault(report, "artifact")


CERTIFICATES = {
    "expired": (("localhost", -30 * DAY, -DAY), "has expired", "renew the certificate"),
    "early": (("localhost", DAY, 30 * DAY), "is not yet valid", "timedatectl"),
    "other name": (
        ("kettle.example",),
        "Hostname mismatch",
        "MLFLOW_TRACKING_URI in {}/env line 2",
    ),
}


@pytest.mark.parametrize(("asked", "seen", "mends"), CERTIFICATES.values(), ids=CERTIFICATES)
def test_a_bad_certificate(
    asked: tuple[str, dt.timedelta, dt.timedelta],
    seen: str,
    mends: str,
    tmp_path: Path,
    authority: Authority,
) -> None:
    with answering({}, authority.sign(*asked)) as port:
        url = f"https://localhost:{port}"
        failed = fault(walked(url, tmp_path, f"SSL_CERT_FILE={authority.file}"), "tls")
    assert seen in failed.seen
    assert f"for {asked[0]}, valid until" in failed.seen
    assert mends.format(tmp_path) in remedy(failed)


def test_a_certificate_of_an_unknown_authority(tmp_path: Path, authority: Authority) -> None:
    other = Authority.new("theirs", tmp_path)
    with answering({}, other.sign("localhost")) as port:
        url = f"https://localhost:{port}"
        by_default = fault(walked(url, tmp_path), "tls")
        by_file = fault(walked(url, tmp_path, f"SSL_CERT_FILE={authority.file}"), "tls")
    assert "by theirs" in by_default.seen
    assert f"SSL_CERT_FILE, which is not set in {tmp_path}/env" in remedy(by_default)
    assert f"SSL_CERT_FILE in {tmp_path}/env line 3" in remedy(by_file)


def test_a_file_of_authorities_that_is_not_there(tmp_path: Path) -> None:
    with answering({}) as port:
        url = f"https://localhost:{port}"
        failed = fault(walked(url, tmp_path, "SSL_CERT_FILE=/nowhere.pem"), "tls")
    assert failed.seen == "/nowhere.pem cannot be used (No such file or directory)"
    assert f"SSL_CERT_FILE in {tmp_path}/env line 3" in remedy(failed)


def test_https_to_a_port_of_plain_http(tmp_path: Path) -> None:
    with answering({}) as port:
        failed = fault(walked(f"https://localhost:{port}", tmp_path), "tls")
    assert failed.seen == f"localhost port {port} speaks plain HTTP"
    assert remedy(failed) == f"Write http://localhost:{port} into {setting(tmp_path)}."


def test_https_to_the_port_of_a_proxy_that_leads_to_its_tls(tmp_path: Path) -> None:
    location = "https://mlflow.example"
    with answering({"*": Answer(308, headers={"Location": f"{location}/"})}) as port:
        failed = fault(walked(f"https://localhost:{port}", tmp_path), "tls")
    assert failed.seen == f"localhost port {port} speaks plain HTTP, and leads to {location}"
    assert remedy(failed) == f"Write {location} into {setting(tmp_path)}."


def test_a_port_of_tls_where_no_proxy_listens(tmp_path: Path) -> None:
    with closing(socket.socket()) as taken:
        taken.bind(("127.0.0.1", 0))
        port = taken.getsockname()[1]
        failed = fault(walked(f"https://127.0.0.1:{port}", tmp_path), "tcp")
    assert "the proxy in front of MLflow" in (failed.meaning or "")
    assert "'systemctl status nginx'" in remedy(failed)
    assert setting(tmp_path) in remedy(failed)


def test_a_certificate_of_a_proxy_that_has_several_is_described(
    tmp_path: Path, authority: Authority
) -> None:
    other = Authority.new("theirs", tmp_path)
    default = authority.sign("other.example")
    with answering({}, default, {"localhost": other.sign("localhost")}) as port:
        url = f"https://localhost:{port}"
        failed = fault(walked(url, tmp_path, f"SSL_CERT_FILE={authority.file}"), "tls")
    assert "for localhost, valid until" in failed.seen
    assert "by theirs" in failed.seen


def test_plain_http_to_a_port_of_tls(tmp_path: Path, authority: Authority) -> None:
    with answering({}, authority.sign("localhost")) as port:
        failed = fault(walked(f"http://localhost:{port}", tmp_path), "http")
    assert failed.seen == f"localhost port {port} speaks TLS"
    assert remedy(failed) == f"Write https://localhost:{port} into {setting(tmp_path)}."


def test_plain_http_to_nginx_that_speaks_tls(tmp_path: Path) -> None:
    page = "<title>400 The plain HTTP request was sent to HTTPS port</title>"
    with answering({"*": Answer(400, page)}) as port:
        failed = fault(walked(f"http://localhost:{port}", tmp_path), "http")
    assert remedy(failed) == f"Write https://localhost:{port} into {setting(tmp_path)}."


def test_a_redirect_to_https(tmp_path: Path) -> None:
    location = f"https://mlflow.example{EXPERIMENTS}?max_results=1"
    with answering({"*": Answer(301, headers={"Location": location})}) as port:
        failed = fault(walked(f"http://localhost:{port}", tmp_path), "http")
    assert failed.seen == f"http://localhost:{port} answered 301 and leads to {location}"
    assert remedy(failed) == f"Write https://mlflow.example into {setting(tmp_path)}."


def test_a_host_header_that_mlflow_refuses(tmp_path: Path) -> None:
    refusal = Answer(403, "Invalid Host header - possible DNS rebinding attack detected")
    with answering({"*": refusal}) as port:
        url = f"http://localhost:{port}"
        failed = fault(walked(url, tmp_path), "http")
    assert failed.seen == "403: Invalid Host header: MLflow does not go by the name localhost"
    assert f"MLFLOW_PUBLIC_URL={url} in /etc/mlflow-host/env" in remedy(failed)
    assert setting(tmp_path) in remedy(failed)


def test_the_default_page_of_a_proxy(tmp_path: Path) -> None:
    page = Answer(200, "<html><title>Welcome to nginx!</title></html>", {"Server": "nginx"})
    with answering({"*": page}) as port:
        failed = fault(walked(f"http://localhost:{port}", tmp_path), "http")
    assert "answered 200 (Welcome to nginx!, Server: nginx)" in failed.seen
    assert "server_name" in remedy(failed)
    assert setting(tmp_path) in remedy(failed)


OTHERS = {
    "Airflow": ("/api/v2/version", '{"version": "3.3.2", "git_version": null}'),
    "the API": ("/", '{"host": "api-host", "status": "ok"}'),
}


@pytest.mark.parametrize("title", OTHERS)
def test_another_server_of_tripod_behind_the_port(title: str, tmp_path: Path) -> None:
    path, body = OTHERS[title]
    with answering({path: Answer(body=body)}) as port:
        url = f"http://localhost:{port}"
        failed = fault(walked(url, tmp_path), "http")
    assert failed.seen == f"{url} is {title}, not MLflow"
    assert remedy(failed) == f"Write the URL of MLflow into {setting(tmp_path)}."


@pytest.mark.parametrize("status", [502, 503, 504])
def test_a_proxy_whose_host_is_stopped(status: int, tmp_path: Path) -> None:
    with answering({"*": Answer(status, "<title>Bad Gateway</title>")}) as port:
        failed = fault(walked(f"http://localhost:{port}", tmp_path), "http")
    assert f"answered {status} (Bad Gateway)" in failed.seen
    assert "systemctl status mlflow-host.service" in remedy(failed)


@pytest.mark.parametrize("status", [401, 403])
def test_a_proxy_that_wants_a_password(status: int, tmp_path: Path) -> None:
    with answering({"*": Answer(status, "Authorization Required")}) as port:
        failed = fault(walked(f"http://localhost:{port}", tmp_path), "http")
    assert "wants a password" in (failed.meaning or "")
    assert setting(tmp_path) in remedy(failed)


def test_a_server_error_is_for_the_log_of_the_server(tmp_path: Path) -> None:
    with answering({"*": Answer(500, '{"message": "disk I/O error"}')}) as port:
        failed = fault(walked(f"http://localhost:{port}", tmp_path), "http")
    assert "disk I/O error" in failed.seen
    assert "journalctl -u mlflow-host.service" in remedy(failed)


def dated(skew: dt.timedelta) -> dict[str, Answer]:
    date = format_datetime(dt.datetime.now(dt.UTC) + skew, usegmt=True)
    return {EXPERIMENTS: MLFLOWS_ANSWER, "/health": Answer(headers={"Date": date})}


@pytest.mark.parametrize(("hours", "word"), [(1, "ahead of"), (-1, "behind")])
def test_a_clock_that_is_wrong_by_an_hour(hours: int, word: str, tmp_path: Path) -> None:
    with answering(dated(dt.timedelta(hours=hours))) as port:
        failed = fault(walked(f"http://127.0.0.1:{port}", tmp_path), "clock")
    seconds = int(failed.seen.partition(" s ")[0].rpartition(" ")[2])
    assert abs(seconds - 3600) < 60
    assert f"{word} this server's" in failed.seen
    assert "timedatectl" in remedy(failed)


def test_a_clock_that_is_nearly_right(tmp_path: Path) -> None:
    with answering(dated(dt.timedelta(seconds=20))) as port:
        report = walked(f"http://127.0.0.1:{port}", tmp_path)
    (clock,) = (step for step in report.steps if step.name == "clock")
    assert clock.verdict is Verdict.PASSED


def test_a_server_that_tells_no_time(tmp_path: Path) -> None:
    with answering({EXPERIMENTS: MLFLOWS_ANSWER}) as port:
        report = walked(f"http://127.0.0.1:{port}", tmp_path)
    (clock,) = (step for step in report.steps if step.name == "clock")
    assert (clock.verdict, clock.seen) == (Verdict.SKIPPED, "the server does not tell the time")


@pytest.mark.parametrize(("version", "word"), [("2.22.0", "too old"), ("4.0.0", "too new")])
def test_another_generation_of_mlflow(version: str, word: str, tmp_path: Path) -> None:
    answers = {EXPERIMENTS: MLFLOWS_ANSWER, MODELS: Answer(), "/version": Answer(body=version)}
    with answering(answers) as port:
        failed = fault(walked(f"http://127.0.0.1:{port}", tmp_path), "version")
    assert failed.seen == f"MLflow there is {version}"
    assert word in (failed.meaning or "")
    assert "mlflow-host version" in remedy(failed)


def test_an_artifact_store_that_refuses(tmp_path: Path) -> None:
    answers = {EXPERIMENTS: MLFLOWS_ANSWER, MODELS: Answer(), "/version": Answer(body="3.1.0")}
    refusal = Answer(500, json.dumps({"message": "[Errno 28] No space left on device"}))
    with answering({**answers, "*": refusal}) as port:
        failed = fault(walked(f"http://127.0.0.1:{port}", tmp_path), "artifact")
    assert failed.seen.startswith("an artifact could not be written: ")
    assert "No space left on device" in failed.seen
    assert "MLFLOW_ARTIFACTS_DESTINATION in /etc/mlflow-host/env" in remedy(failed)


@pytest.mark.parametrize(
    ("status", "password", "seen", "mends"),
    [
        (401, None, "MLflow wants an account (401)", "'users add-service api'"),
        (
            401,
            "wrong",
            "MLflow refuses the account api (401)",
            "'mlflow-host users password api'",
        ),
        (403, "right", "MLflow refuses the account api (403)", "'users add-service api'"),
        (429, "wrong", "MLflow has seen too many wrong passwords from here (429)", "in a minute"),
    ],
)
def test_an_account_that_mlflow_refuses(
    status: int, password: str | None, seen: str, mends: str, tmp_path: Path
) -> None:
    realm = {"WWW-Authenticate": 'Basic realm="mlflow"'}
    secret = SecretStr(password) if password else None
    account = mlflow.Account("api", secret, "MLFLOW_TRACKING_PASSWORD", "users add-service api")
    with answering({EXPERIMENTS: Answer(401, headers=realm), "*": Answer(status)}) as port:
        failed = fault(walked(f"http://127.0.0.1:{port}", tmp_path, account=account), "login")
    assert failed.seen == seen
    assert mends in remedy(failed)
    assert "MLFLOW_TRACKING_PASSWORD" in remedy(failed)
