"""Who gets past a proxy that wants certificates, with the printed configuration."""

import socketserver
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import ClassVar
from urllib.parse import urlsplit

import httpx
import pytest

from hostkit.doctor import mlflow
from hostkit.doctor.connection import Target
from hostkit.doctor.report import StepReport, Verdict
from hostkit.doctor.steps import examine
from hostkit.link import Link
from hostkit.network import HttpUrl
from hostkit.outside.proxy import Proxy
from hostkit.servers import MLFLOW
from hostkit.settings import Settings, load
from hostkit.tls import bundles
from hostkit.tls.authority import Authority
from hostkit.tls.client import ClientTls
from tests.hostkit.outside.servers import Front, fronting, shows

NOW = datetime.now(UTC)
DAY = timedelta(days=1)
SECONDS_TO_ANSWER = 60.0


class Answering(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_GET(self) -> None:
        self.send_response(200)
        self.send_header("Content-Length", "2")
        self.end_headers()
        self.wfile.write(b"ok")

    def log_message(self, *_: object) -> None:
        """Says nothing."""


@pytest.fixture(scope="module")
def upstream() -> Iterator[int]:
    server: socketserver.BaseServer = ThreadingHTTPServer(("127.0.0.1", 0), Answering)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    yield int(server.server_address[1])  # type: ignore[index]
    server.shutdown()
    thread.join()
    server.server_close()


@dataclass(frozen=True)
class Estate:
    front: Front
    ca: Path
    foreign: Path

    def show(self, name: str, ca: Path | None = None, *, made: datetime = NOW) -> Path:
        """A certificate of one of the two CAs, that was made at some time for 30 days."""
        bundle, _ = bundles.issue(ca or self.ca, [name], 30 * DAY, made)
        return bundle.file

    def ask(self, identity: Path | None) -> httpx.Response:
        context = ClientTls(self.ca / "ca.pem", identity).context
        with httpx.Client(verify=context, trust_env=False, timeout=30) as client:
            return client.get(f"{self.front.url}/")


@pytest.fixture(scope="module", params=list(Proxy))
def estate(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory, upstream: int
) -> Iterator[Estate]:
    folder = tmp_path_factory.mktemp(request.param)
    ca, foreign = folder / "ca", folder / "foreign"
    for each in (ca, foreign):
        Authority.make(each, (), NOW - 60 * DAY)
    server, _ = bundles.issue(ca, ["localhost"], 90 * DAY, NOW)
    with fronting(request.param, folder, upstream, server.file, ca / "ca.pem") as front:
        yield Estate(front, ca, foreign)


def refused(estate: Estate, identity: Path | None) -> bool:
    """nginx says so by HTTP, Caddy by TLS."""
    try:
        answer = estate.ask(identity)
    except httpx.TransportError:
        return True
    return answer.status_code == 400 and "SSL certificate" in answer.text


class CallerSettings(Settings):
    host_name: ClassVar[str] = "caller-host"

    mlflow_tracking_uri: HttpUrl
    tls_certificate_file: Path | None = None


def tls_step(estate: Estate, identity: Path | None) -> StepReport:
    """What a doctor says of the way to the proxy."""
    env_file = estate.ca / "env"
    shown = f"TLS_CERTIFICATE_FILE={identity}\n" if identity else ""
    url = f"MLFLOW_TRACKING_URI={estate.front.url}\n"
    env_file.write_text(f"{url}SSL_CERT_FILE={estate.ca}/ca.pem\n{shown}")
    loaded = load(CallerSettings, env_file=env_file, environment={})
    target = Target(Link(MLFLOW, estate.front.url, "MLFLOW_TRACKING_URI"), loaded)
    account = mlflow.Account(
        "api", None, "MLFLOW_TRACKING_PASSWORD", "mlflow-host users add-service"
    )
    (report,) = examine([mlflow.walk(target, account)])
    return next(step for step in report.steps if step.name == "tls")


def test_the_doctor_says_that_a_certificate_is_wanted(estate: Estate) -> None:
    step = tls_step(estate, None)
    assert step.verdict is Verdict.FAILED
    assert "was shown none" in step.seen
    assert f"TLS_CERTIFICATE_FILE, which is not set in {estate.ca}/env" in (step.remedy or "")


def test_the_doctor_says_that_a_certificate_is_not_accepted(estate: Estate) -> None:
    for file in (estate.show("api", estate.foreign), estate.show("late", made=NOW - 31 * DAY)):
        step = tls_step(estate, file)
        assert step.verdict is Verdict.FAILED
        assert "does not accept this host's certificate" in step.seen
        assert f"TLS_CERTIFICATE_FILE in {estate.ca}/env line 3" in (step.remedy or "")


def test_the_doctor_is_let_in_with_a_certificate(estate: Estate) -> None:
    assert tls_step(estate, estate.show("api")).verdict is Verdict.PASSED


def test_a_client_with_a_certificate_is_let_in(estate: Estate) -> None:
    assert estate.ask(estate.show("api")).text == "ok"


def test_a_client_without_one_is_not(estate: Estate) -> None:
    assert refused(estate, None)


def test_a_client_with_one_of_another_ca_is_not(estate: Estate) -> None:
    assert refused(estate, estate.show("api", estate.foreign))


def test_a_client_with_one_that_has_expired_is_not(estate: Estate) -> None:
    assert refused(estate, estate.show("old", made=NOW - 31 * DAY))
    assert not refused(estate, estate.show("new", made=NOW - 29 * DAY))


def test_a_renewed_certificate_is_shown_without_a_restart(estate: Estate) -> None:
    file = estate.show("client", made=NOW - 31 * DAY)
    tls = ClientTls(estate.ca / "ca.pem", file)
    with httpx.Client(verify=tls.context, trust_env=False) as client:

        def let_in() -> bool:
            try:
                return client.get(f"{estate.front.url}/").is_success
            except httpx.TransportError:
                return False

        assert not let_in()
        assert not tls.refresh()
        bundles.renew(estate.ca, ["client"], NOW)
        assert tls.refresh()
    # The connection by which nginx said no stays as it was.
    with httpx.Client(verify=tls.context, trust_env=False) as client:
        assert client.get(f"{estate.front.url}/").is_success


def test_a_renewal_of_the_servers_loses_no_request(upstream: int, tmp_path: Path) -> None:
    ca = tmp_path / "ca"
    Authority.make(ca, (), NOW)
    server, _ = bundles.issue(ca, ["localhost"], 90 * DAY, NOW)
    client, _ = bundles.issue(ca, ["api"], 90 * DAY, NOW)
    context = ClientTls(ca / "ca.pem", client.file).context
    answers: list[str] = []
    ended = threading.Event()

    def ask(url: str) -> None:
        while not ended.is_set():
            try:
                # A connection for each: every one of them meets whoever listens at the moment.
                with httpx.Client(verify=context, trust_env=False, timeout=60) as asking:
                    answers.append(asking.get(url).text)
            except httpx.HTTPError as error:
                answers.append(repr(error))

    with fronting(Proxy.NGINX, tmp_path, upstream, server.file, ca / "ca.pem") as front:
        threads = [threading.Thread(target=ask, args=(front.url,)) for _ in range(3)]
        for thread in threads:
            thread.start()
        try:
            for _ in range(3):
                bundles.renew(ca, ["localhost"], NOW, at_once=True)
                front.reload()
                seen, deadline = len(answers), time.monotonic() + SECONDS_TO_ANSWER
                while len(answers) < seen + 20:
                    assert time.monotonic() < deadline, answers[seen:]
                    time.sleep(0.01)
        finally:
            ended.set()
            for thread in threads:
                thread.join()
    assert len(answers) > 60
    assert set(answers) == {"ok"}


def test_traefik_shows_a_renewed_certificate_when_its_file_is_touched(
    upstream: int, tmp_path: Path
) -> None:
    ca = tmp_path / "ca"
    Authority.make(ca, (), NOW)
    server, _ = bundles.issue(ca, ["localhost"], 90 * DAY, NOW)
    with fronting(Proxy.TRAEFIK, tmp_path, upstream, server.file) as front:
        port = urlsplit(front.url).port or 0
        bundles.renew(ca, ["localhost"], NOW, at_once=True)
        assert not shows(port, server.file)
        (tmp_path / "dynamic" / "host.yaml").touch()
        deadline = time.monotonic() + SECONDS_TO_ANSWER
        while not shows(port, server.file):
            assert time.monotonic() < deadline, front.log.read_text()
            time.sleep(0.05)
