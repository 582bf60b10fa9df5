"""What a proxy does with the printed configuration: the table of docs/proxy.md, row by row."""

import json
import ssl
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import urlsplit

import grpc
import httpx
import pytest

from hostkit.outside.proxy import Proxy
from hostkit.tls import bundles
from hostkit.tls.authority import Authority
from tests.hostkit.outside.servers import Front, fronting

SECONDS = 60.0
MAX_BODY = 64 * 1024
LIVE = "/inference.GRPCInferenceService/ServerLive"


class Echoing(BaseHTTPRequestHandler):
    """Answers with the headers that arrived."""

    protocol_version = "HTTP/1.1"

    def do_GET(self) -> None:
        body = json.dumps({name.lower(): text for name, text in self.headers.items()}).encode()
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def do_POST(self) -> None:
        self.rfile.read(int(self.headers["Content-Length"]))
        self.do_GET()

    def log_message(self, *_: object) -> None:
        """Says nothing."""


class Reversing(grpc.GenericRpcHandler):
    """Answers a call of any name with its bytes from behind."""

    def service(self, _: grpc.HandlerCallDetails) -> "grpc.RpcMethodHandler[bytes, bytes]":
        return grpc.unary_unary_rpc_method_handler(lambda request, _: bytes(reversed(request)))


@dataclass(frozen=True)
class Passage:
    """A proxy, and the CA by which it is known."""

    front: Front
    ca: Path

    def client(self) -> httpx.Client:
        context = ssl.create_default_context(cafile=self.ca)
        return httpx.Client(
            verify=context, trust_env=False, timeout=SECONDS, base_url=self.front.url
        )


@pytest.fixture(scope="module", params=list(Proxy))
def passage(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Passage]:
    folder = tmp_path_factory.mktemp(request.param)
    now = datetime.now(UTC)
    Authority.make(folder / "ca", (), now)
    bundle, _ = bundles.issue(folder / "ca", ["localhost"], timedelta(days=90), now)
    server = ThreadingHTTPServer(("127.0.0.1", 0), Echoing)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    calls = grpc.server(ThreadPoolExecutor(2), handlers=[Reversing()])
    grpc_port = calls.add_insecure_port("127.0.0.1:0")
    calls.start()
    port = server.server_address[1]
    try:
        with fronting(
            request.param, folder, port, bundle.file, grpc_port=grpc_port, max_body=MAX_BODY
        ) as front:
            yield Passage(front, folder / "ca" / "ca.pem")
    finally:
        calls.stop(None).wait()
        server.shutdown()
        thread.join()
        server.server_close()


def test_the_upstream_learns_who_called_from_the_proxy_alone(passage: Passage) -> None:
    lies = {
        "X-Forwarded-For": "10.6.6.6",
        "X-Forwarded-Proto": "http",
        "X-Forwarded-Host": "evil.example",
    }
    authority = urlsplit(passage.front.url).netloc
    with passage.client() as client:
        seen = client.get("/", headers=lies).json()
    assert seen["host"] == authority
    assert seen["x-forwarded-host"] == authority
    assert seen["x-forwarded-proto"] == "https"
    assert seen["x-forwarded-for"] in ("127.0.0.1", "::1")


def test_a_browser_is_told_to_come_by_tls(passage: Passage) -> None:
    with passage.client() as client:
        assert client.get("/").headers["Strict-Transport-Security"] == "max-age=31536000"


def test_plain_http_leads_to_https_and_keeps_method_path_and_query(passage: Passage) -> None:
    url = f"http://localhost:{passage.front.plain}/a/b?c=d%20e"
    answer = httpx.post(url, content=b"x", trust_env=False, timeout=SECONDS)
    assert answer.status_code == 308
    assert answer.headers["Location"] == f"{passage.front.url}/a/b?c=d%20e"


def test_no_other_name_is_served(passage: Passage) -> None:
    name = {"Host": "evil.example"}
    with passage.client() as client:
        assert client.get("/", headers=name).status_code in (404, 421)
    plain = f"http://localhost:{passage.front.plain}/"
    answer = httpx.get(plain, headers=name, trust_env=False, timeout=SECONDS)
    assert answer.status_code in (404, 421)


def test_a_body_over_the_limit_is_refused(passage: Passage) -> None:
    with passage.client() as client:
        assert client.post("/", content=bytes(MAX_BODY)).is_success
        assert client.post("/", content=bytes(MAX_BODY + 1)).status_code == 413


def test_grpc_passes_on_the_same_port(passage: Passage) -> None:
    credentials = grpc.ssl_channel_credentials(passage.ca.read_bytes())
    authority = urlsplit(passage.front.url).netloc
    with grpc.secure_channel(authority, credentials) as channel:
        call: grpc.UnaryUnaryMultiCallable[bytes, bytes] = channel.unary_unary(LIVE)
        assert call(b"abc", timeout=SECONDS, wait_for_ready=True) == b"cba"
