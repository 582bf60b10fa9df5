"""A small server that answers as a test wants it, on a port of its own."""

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

Answer = Callable[[bytes], tuple[int, bytes]]


@contextmanager
def answering(answer: Answer, *, chunked: bool = False) -> Iterator[int]:
    """Answers every request with the status and the body that `answer` makes of its body."""

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_GET(self) -> None:
            self._answer(b"")

        def do_POST(self) -> None:
            self._answer(self.rfile.read(int(self.headers["Content-Length"])))

        def _answer(self, asked: bytes) -> None:
            status, body = answer(asked)
            self.send_response(status)
            if chunked:
                self.send_header("Transfer-Encoding", "chunked")
                half = len(body) // 2
                pieces = (body[:half], body[half:], b"")
                body = b"".join(b"%x\r\n%b\r\n" % (len(piece), piece) for piece in pieces)
            else:
                self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: object) -> None:
            """Says nothing."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    try:
        yield server.server_port
    finally:
        server.shutdown()
        thread.join()
        server.server_close()
