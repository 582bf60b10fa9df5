"""nginx, Caddy and Traefik with what `config proxy` printed, on free ports of loopback."""

import re
import shutil
import signal
import socket
import ssl
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509 import load_pem_x509_certificate

from hostkit.definition import Entrance
from hostkit.outside.proxy import Certificate, Proxy, render
from tests.lacks import PATH, lack, program

DEADLINE_SECONDS = 60.0


@dataclass(frozen=True)
class Front:
    """A proxy that runs.

    `url`: where it speaks TLS.
    `plain`: its port that leads there, which is 80 elsewhere.
    `log`: what it said.
    """

    url: str
    plain: int
    log: Path
    process: "subprocess.Popen[bytes]"

    def reload(self) -> None:
        """Lets nginx read its configuration and certificates again; returns when it began."""
        said = self.log.read_text().count("gracefully shutting down")
        self.process.send_signal(signal.SIGHUP)
        deadline = time.monotonic() + DEADLINE_SECONDS
        while self.log.read_text().count("gracefully shutting down") == said:
            assert time.monotonic() < deadline, self.log.read_text()
            time.sleep(0.02)


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as server:
        return int(server.getsockname()[1])


@contextmanager
def fronting(
    proxy: Proxy,
    folder: Path,
    upstream: int,
    bundle: Path,
    client_ca: Path | None = None,
    grpc_port: int | None = None,
    max_body: int | None = None,
) -> Iterator[Front]:
    """A proxy in front of a port, with a bundle as its certificate and key."""
    port, plain = free_port(), free_port()
    url = f"https://localhost:{port}"
    where = Entrance(
        url, "MLFLOW_PUBLIC_URL", "127.0.0.1", upstream, max_body, 600.0, grpc_port=grpc_port
    )
    text = render(proxy, "mlflow-host", where, Certificate(bundle, bundle), client_ca=client_ca)
    command = _COMMANDS[proxy](folder, text, plain)
    log = folder / f"{proxy}.log"
    environment = {"HOME": str(folder), "XDG_DATA_HOME": str(folder), "PATH": "/usr/bin"}
    with log.open("wb") as output:
        process = subprocess.Popen(command, env=environment, stdout=output, stderr=output)
    try:
        _wait_for(port, process, bundle, log)
        yield Front(url, plain, log, process)
    finally:
        process.terminate()
        process.wait(DEADLINE_SECONDS)


def _nginx(folder: Path, text: str, plain: int) -> list[str | Path]:
    # Port 80 is not ours; all else is as it was printed.
    text = text.replace("listen 80;", f"listen 127.0.0.1:{plain};")
    text = re.sub(r"\n.*listen \[::\]:80;", "", text)
    places = ("client_body", "proxy", "fastcgi", "uwsgi", "scgi")
    temporary = "".join(f"{place}_temp_path {folder}/{place};\n" for place in places)
    (folder / "host.conf").write_text(text)
    whole = folder / "nginx.conf"
    whole.write_text(
        f"daemon off;\npid {folder}/pid;\nerror_log stderr notice;\nevents {{}}\n"
        f"http {{ access_log off; {temporary} include {folder}/host.conf; }}\n"
    )
    return [program("nginx", "nginx-light"), "-e", "stderr", "-p", folder, "-c", whole]


def _caddy(folder: Path, text: str, plain: int) -> list[str | Path]:
    text = text.replace("{\n\tservers {", "{\n\tadmin off\n\tauto_https off\n\tservers {", 1)
    text = text.replace("http://localhost {", f"http://localhost:{plain} {{")
    text = text.replace("http:// {", f"http://:{plain} {{")
    file = folder / "Caddyfile"
    file.write_text(text)
    return [program("caddy", "caddy"), "run", "--adapter", "caddyfile", "--config", file]


def _traefik(folder: Path, text: str, plain: int) -> list[str | Path]:
    found = shutil.which("traefik", path=f"{sys.prefix}/bin:{PATH}")
    if found is None:
        lack("traefik is not here: it comes with the resolve 'dev'")
    folder.joinpath("dynamic").mkdir()
    folder.joinpath("dynamic", "host.yaml").write_text(text)
    # What the first lines of the printed file ask for, on ports of ours.
    asked = re.search(r"^#   providers.*?(?=^$)", text, re.DOTALL | re.MULTILINE)
    assert asked
    static = re.sub("^#   ", "", asked[0], flags=re.MULTILINE)
    static = static.replace("/etc/traefik/dynamic", f"{folder}/dynamic")
    static = static.replace('":80"', f'"127.0.0.1:{plain}"')
    file = folder / "traefik.yaml"
    file.write_text(f"{static}global: {{checkNewVersion: false, sendAnonymousUsage: false}}\n")
    return [found, f"--configFile={file}"]


_COMMANDS = {Proxy.NGINX: _nginx, Proxy.CADDY: _caddy, Proxy.TRAEFIK: _traefik}


def _wait_for(port: int, process: "subprocess.Popen[bytes]", bundle: Path, log: Path) -> None:
    """Returns when the proxy shows its certificate: Traefik shows one of its own at first."""
    deadline = time.monotonic() + DEADLINE_SECONDS
    while not shows(port, bundle):
        assert process.poll() is None, log.read_text()
        assert time.monotonic() < deadline, log.read_text()
        time.sleep(0.02)


def shows(port: int, bundle: Path) -> bool:
    """Whether a proxy shows the certificate that is in a file now."""
    certificate = load_pem_x509_certificate(bundle.read_bytes())
    return _shown(port) == certificate.public_bytes(Encoding.DER)


def _shown(port: int) -> bytes | None:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    with (
        suppress(OSError),
        socket.create_connection(("127.0.0.1", port), 5) as connection,
        context.wrap_socket(connection, server_hostname="localhost") as secured,
    ):
        return secured.getpeercert(binary_form=True)
    return None
