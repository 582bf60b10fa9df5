"""nginx in front of an API, as `config proxy nginx` sets it up, with a certificate of openssl's."""

import re
import socket
import ssl
import subprocess
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import httpx

from tests.lacks import program

NAME = "localhost"
START_SECONDS = 30
TICK_SECONDS = 0.05


@dataclass(frozen=True)
class Front:
    """The proxy.

    `ca`: the certificate by which it is trusted.
    `log`: a line for each request: its id, its method, its target, and the API's status, or "-".
    `name`: by which clients ask it.
    `shown`: the API behind it asks nobody who he is.
    `task`, `page`: what it is asked for.
    """

    port: int
    ca: Path
    log: Path
    name: str = NAME
    shown: Mapping[str, str] = field(default_factory=dict)
    task: str = "/v1/models/iris/predict"
    page: str = "/openapi.json"

    @property
    def url(self) -> str:
        """By which clients reach it."""
        return f"https://{NAME}:{self.port}"

    def trust(self) -> ssl.SSLContext:
        """What trusts its certificate, and no other."""
        return ssl.create_default_context(cafile=self.ca)

    def connect(self, *protocols: str) -> ssl.SSLSocket:
        """A connection with TLS; `protocols` are those that are offered."""
        context = self.trust()
        if protocols:
            context.set_alpn_protocols(list(protocols))
        plain = socket.create_connection(("127.0.0.1", self.port))
        return context.wrap_socket(plain, server_hostname=NAME)

    def client(self) -> httpx.Client:
        """A client that trusts it."""
        return httpx.Client(base_url=self.url, verify=self.trust(), timeout=60, trust_env=False)

    def passed_on(self, request_id: str = "-") -> list[tuple[str, str]]:
        """The method and the target of each request that the API got, by its id if it had one."""
        lines = [line.split(" ") for line in self.log.read_text().splitlines()]
        return [
            (method, target)
            for name, method, *rest, status in lines
            if status.strip() not in ("", "-") and (name or "-") == request_id
            for target in [" ".join(rest)]
        ]


def certificate(folder: Path) -> tuple[Path, Path]:
    """A certificate that signs itself, and its key."""
    chain, key = folder / "chain.pem", folder / "key.pem"
    command = [program("openssl", "openssl"), "req", "-x509", "-newkey", "ec", "-nodes"]
    command += ["-pkeyopt", "ec_paramgen_curve:prime256v1", "-days", "2", "-subj", f"/CN={NAME}"]
    command += ["-addext", f"subjectAltName=DNS:{NAME}", "-keyout", str(key), "-out", str(chain)]
    subprocess.run(command, check=True, capture_output=True)
    return chain, key


@contextmanager
def in_front(folder: Path, rendered: str, port: int, plain_port: int) -> Iterator[Front]:
    """nginx, from when it answers until the block ends.

    `rendered`: what `config proxy nginx` prints for a URL with `port` and `certificate(folder)`.
    `plain_port`: where it listens instead of port 80.
    """
    (folder / "host.conf").write_text(
        re.sub(r"(listen .*?)\b80;", rf"\g<1>{plain_port};", rendered)
    )
    whole, log = folder / "nginx.conf", folder / "requests"
    temporary = "".join(
        f"{kind}_temp_path {folder}/{kind};"
        for kind in ("client_body", "proxy", "fastcgi", "uwsgi", "scgi")
    )
    whole.write_text(
        f"daemon off; pid {folder}/pid; error_log {folder}/errors; worker_processes 1;\n"
        "events {}\n"
        "http { keepalive_timeout 2; log_format plain escape=none\n"
        "'$http_x_request_id $request_method $request_uri $upstream_status';\n"
        f"access_log {log} plain; {temporary} include {folder}/host.conf; }}\n"
    )
    nginx = program("nginx", "nginx-light")
    command = [nginx, "-e", str(folder / "errors"), "-p", str(folder), "-c", str(whole)]
    with subprocess.Popen(command) as process:
        try:
            _wait(process, port)
            yield Front(port, folder / "chain.pem", log)
        finally:
            process.terminate()


def _wait(process: "subprocess.Popen[bytes]", port: int) -> None:
    deadline = time.monotonic() + START_SECONDS
    while time.monotonic() < deadline:
        assert process.poll() is None, "nginx ended; its errors say why"
        try:
            socket.create_connection(("127.0.0.1", port)).close()
        except ConnectionRefusedError:
            time.sleep(TICK_SECONDS)
        else:
            return
    raise AssertionError("nginx does not listen")
