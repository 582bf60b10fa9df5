"""nginx and Caddy with what `config proxy` printed, on free ports of loopback."""

import re
import signal
import socket
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from hostkit.definition import Entrance
from hostkit.outside.proxy import Certificate, Proxy, render
from tests.lacks import program

DEADLINE_SECONDS = 60.0


@dataclass(frozen=True)
class Front:
    """A proxy that runs.

    `url`: where it speaks TLS.
    `log`: what it said.
    """

    url: str
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
    proxy: Proxy, folder: Path, upstream: int, bundle: Path, client_ca: Path | None
) -> Iterator[Front]:
    """A proxy in front of a port, with a bundle as its certificate and key."""
    port = free_port()
    url = f"https://localhost:{port}"
    where = Entrance(url, "MLFLOW_PUBLIC_URL", "127.0.0.1", upstream, None, 600.0)
    text = render(proxy, "mlflow-host", where, Certificate(bundle, bundle), client_ca=client_ca)
    command = _nginx(folder, text) if proxy is Proxy.NGINX else _caddy(folder, text)
    log = folder / f"{proxy}.log"
    environment = {"HOME": str(folder), "XDG_DATA_HOME": str(folder), "PATH": "/usr/bin"}
    with log.open("wb") as output:
        process = subprocess.Popen(command, env=environment, stdout=output, stderr=output)
    try:
        _wait_for(port, process, log)
        yield Front(url, log, process)
    finally:
        process.terminate()
        process.wait(DEADLINE_SECONDS)


def _nginx(folder: Path, text: str) -> list[str | Path]:
    # Port 80 is not ours; all else is as it was printed.
    text = re.sub(r"listen (\[::\]:)?80;", f"listen unix:{folder}/80.socket;", text, count=1)
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


def _caddy(folder: Path, text: str) -> list[str | Path]:
    text = text.replace("{\n\tservers {", "{\n\tadmin off\n\tauto_https off\n\tservers {", 1)
    text = text.replace("http://localhost {", f"http://localhost:{free_port()} {{")
    text = text.replace("http:// {", f"http://:{free_port()} {{")
    file = folder / "Caddyfile"
    file.write_text(text)
    return [program("caddy", "caddy"), "run", "--adapter", "caddyfile", "--config", file]


def _wait_for(port: int, process: "subprocess.Popen[bytes]", log: Path) -> None:
    deadline = time.monotonic() + DEADLINE_SECONDS
    while True:
        try:
            socket.create_connection(("127.0.0.1", port), 1).close()
        except OSError:
            assert process.poll() is None, log.read_text()
            assert time.monotonic() < deadline, log.read_text()
            time.sleep(0.02)
        else:
            return
