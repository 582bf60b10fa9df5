import asyncio
import dataclasses
import datetime as dt
import ipaddress
import socket
import ssl
import threading
from collections.abc import Iterator
from contextlib import closing, contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import httpx
import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec

from hostkit import link
from hostkit.link import Link, LinkState
from hostkit.servers import API, Server

MORE = "('doctor' says what mends it)"


class Answers(BaseHTTPRequestHandler):
    """Answers with the status that the path names."""

    def do_GET(self) -> None:
        status = int(self.path.strip("/"))
        self.send_response(status)
        if 300 <= status < 400:
            self.send_header("Location", "https://kettle/")
        self.send_header("Content-Length", "0")
        self.end_headers()

    def log_message(self, *_: object) -> None:
        pass


@contextmanager
def serving(context: ssl.SSLContext | None = None) -> Iterator[int]:
    with ThreadingHTTPServer(("127.0.0.1", 0), Answers) as server:
        if context is not None:
            server.socket = context.wrap_socket(server.socket, server_side=True)
        thread = threading.Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        try:
            yield server.server_port
        finally:
            server.shutdown()
            thread.join()


@pytest.fixture(scope="module")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A certificate for 127.0.0.1, signed by itself, and its key, in one file."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "kettle")])
    address = x509.IPAddress(ipaddress.ip_address("127.0.0.1"))
    now = dt.datetime.now(dt.UTC)
    certificate = (
        x509.CertificateBuilder(name, name, key.public_key(), x509.random_serial_number())
        .not_valid_before(now - dt.timedelta(hours=1))
        .not_valid_after(now + dt.timedelta(hours=1))
        .add_extension(x509.SubjectAlternativeName([address]), critical=False)
        .sign(key, hashes.SHA256())
    )
    path = tmp_path_factory.mktemp("tls") / "kettle.pem"
    path.write_bytes(
        key.private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.PKCS8,
            serialization.NoEncryption(),
        )
        + certificate.public_bytes(serialization.Encoding.PEM)
    )
    return path


@pytest.fixture
def server_context(certificate: Path) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate)
    return context


def kettle(health_path: str) -> Server:
    return dataclasses.replace(API, name="kettle", title="the kettle", health_path=health_path)


def check(url: str, path: str = "/200", verify: ssl.SSLContext | bool = True) -> LinkState:
    async def ask() -> LinkState:
        async with httpx.AsyncClient(verify=verify, trust_env=False) as client:
            return await link.check(Link(kettle(path), url, "KETTLE_URL"), client)

    return asyncio.run(ask())


def test_a_server_that_is_well() -> None:
    with serving() as port:
        state = check(f"http://127.0.0.1:{port}")
    assert (state.healthy, state.detail) == (True, "/200 answered 200")
    assert 0 < state.seconds < link.TIMEOUT_SECONDS


@pytest.mark.parametrize("status", [403, 404, 500, 503])
def test_a_server_that_is_not_well(status: int) -> None:
    with serving() as port:
        state = check(f"http://127.0.0.1:{port}", f"/{status}")
    assert (state.healthy, state.detail) == (False, f"/{status} answered {status}")


def test_a_server_that_sends_elsewhere() -> None:
    with serving() as port:
        state = check(f"http://127.0.0.1:{port}", "/301")
    assert not state.healthy
    assert state.detail == "/301 answered 301 and leads to https://kettle/: check KETTLE_URL"


def test_a_name_that_nobody_knows() -> None:
    state = check("http://kettle.invalid:80")
    assert not state.healthy
    assert state.detail == f"the name kettle.invalid is unknown {MORE}"


def test_a_port_where_nobody_listens() -> None:
    with closing(socket.socket()) as taken:
        taken.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{taken.getsockname()[1]}"
        state = check(url)
    assert not state.healthy
    assert state.detail == f"127.0.0.1 port {httpx.URL(url).port} refuses connections {MORE}"


@pytest.mark.parametrize("first_bytes", [b"", b"HTTP/1.1 200 OK\r\nX-Never-Ends: "])
def test_a_server_that_never_finishes(first_bytes: bytes, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(link, "TIMEOUT_SECONDS", 0.2)
    with closing(socket.create_server(("127.0.0.1", 0))) as server:
        url = f"http://127.0.0.1:{server.getsockname()[1]}"

        def begin() -> None:
            connection, _ = server.accept()
            connection.sendall(first_bytes)
            connection.recv(1 << 16)
            connection.recv(1 << 16)  # Until the client gives up.
            connection.close()

        thread = threading.Thread(target=begin)
        thread.start()
        state = check(url)
        thread.join()
    assert not state.healthy
    assert state.detail == f"{url} did not answer in time {MORE}"


def test_a_server_that_hangs_up() -> None:
    with closing(socket.create_server(("127.0.0.1", 0))) as server:
        url = f"http://127.0.0.1:{server.getsockname()[1]}"

        def hang_up() -> None:
            connection, _ = server.accept()
            connection.close()

        thread = threading.Thread(target=hang_up)
        thread.start()
        state = check(url)
        thread.join()
    assert not state.healthy
    assert state.detail == f"{url} hung up without an answer {MORE}"


def test_tls_that_is_trusted(certificate: Path, server_context: ssl.SSLContext) -> None:
    with serving(server_context) as port:
        trusting = ssl.create_default_context(cafile=certificate)
        assert check(f"https://127.0.0.1:{port}", verify=trusting).healthy


def test_tls_that_is_not_trusted(server_context: ssl.SSLContext) -> None:
    with serving(server_context) as port:
        state = check(f"https://127.0.0.1:{port}")
    assert not state.healthy
    assert "certificate of 127.0.0.1 is not accepted: self-signed certificate" in state.detail


def test_tls_for_another_name(certificate: Path, server_context: ssl.SSLContext) -> None:
    with serving(server_context) as port:
        trusting = ssl.create_default_context(cafile=certificate)
        state = check(f"https://localhost:{port}", verify=trusting)
    assert not state.healthy
    assert state.detail.startswith(
        "the certificate of localhost is not accepted: Hostname mismatch"
    )


def test_no_tls_at_all() -> None:
    with serving() as port:
        url = f"https://127.0.0.1:{port}"
        state = check(url)
    assert not state.healthy
    assert state.detail.startswith(f"127.0.0.1 port {httpx.URL(url).port} does not speak TLS")
