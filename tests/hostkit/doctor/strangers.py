"""Servers on loopback that answer what a test wants: not MLflow, or MLflow in trouble."""

import ssl
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from types import MappingProxyType
from urllib.parse import urlsplit

EXPERIMENTS = "/api/2.0/mlflow/experiments/search"


@dataclass(frozen=True)
class Answer:
    status: int = 200
    body: str = ""
    headers: dict[str, str] = field(default_factory=dict)


NOT_FOUND = Answer(404, "nothing here")


@contextmanager
def answering(
    answers: dict[str, Answer],
    certificate: Path | None = None,
    by_name: Mapping[str, Path] = MappingProxyType({}),
) -> Iterator[int]:
    """A server until the block ends; its port. `*` is every path that has no answer of its own.

    `by_name`: other certificates that it shows to those who ask for such a name.
    """

    class Handler(BaseHTTPRequestHandler):
        def _answer(self) -> None:
            answer = answers.get(urlsplit(self.path).path, answers.get("*", NOT_FOUND))
            body = answer.body.encode()
            self.send_response_only(answer.status)
            for name, value in {"Content-Length": str(len(body)), **answer.headers}.items():
                self.send_header(name, value)
            self.end_headers()
            if self.command != "HEAD":
                self.wfile.write(body)

        do_GET = do_HEAD = do_POST = do_PUT = do_DELETE = _answer  # noqa: N815

        def log_message(self, *_: object) -> None:
            pass

    class Server(ThreadingHTTPServer):
        daemon_threads = True

        def handle_error(self, *_: object) -> None:
            """Who only looks at a certificate hangs up."""

    with Server(("127.0.0.1", 0), Handler) as server:
        if certificate is not None:
            context = _showing(certificate)
            others = {name: _showing(file) for name, file in by_name.items()}
            context.sni_callback = lambda secured, name, _: setattr(
                secured, "context", others.get(name, context)
            )
            server.socket = context.wrap_socket(
                server.socket, server_side=True, do_handshake_on_connect=False
            )
        thread = threading.Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        try:
            yield server.server_port
        finally:
            server.shutdown()
            thread.join()


def _showing(certificate: Path) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate)
    return context
