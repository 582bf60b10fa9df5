"""A registry that speaks MLflow's REST API as far as the API host asks, and fails when told to."""

import json
import socket
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Event, Thread
from typing import Any
from urllib.parse import parse_qs, unquote, urlsplit

ARTIFACTS = "/api/2.0/mlflow-artifacts/artifacts/"
ENDLESS_BYTES = 500_000_000
"""After which what has no end ends all the same: a test that fails fills no disk."""


@dataclass
class Registered:
    """A registered model: the folder of each version, and its aliases.

    `tags`: of all versions.
    `updated`: when something was changed last.
    """

    created: int = 1
    versions: dict[str, Path] = field(default_factory=dict)
    aliases: dict[str, str] = field(default_factory=dict)
    tags: dict[str, str] = field(default_factory=lambda: {"promotion": "promoted"})
    updated: int = 1


class RegistryServer:
    """The registry.

    `runs`: what MLflow answers of a run, by its id; of any other it has one metric.
    `status`: what everything answers, if set.
    `account`: the Authorization that everything but the health wants, if set.
    `cut`: whether downloads of model files break off in the middle.
    `endless`: whether model files have no length and no end that a limit would not come before;
    `sent`: how much of them was sent.
    `half_sent`, `go_on`: a download waits between the two, if `pause` is set.
    """

    def __init__(self) -> None:
        self.models: dict[str, Registered] = {}
        self.runs: dict[str, Any] = {}
        self.status: int | None = None
        self.account: str | None = None
        self.cut = False
        self.pause = False
        self.endless = False
        self.sent = 0
        self.half_sent = Event()
        self.go_on = Event()
        self.port = 0
        self._server: ThreadingHTTPServer | None = None

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def promote(self, name: str, folder: Path, alias: str = "champion") -> str:
        """Registers a version and moves the alias to it."""
        model = self.models.setdefault(name, Registered())
        version = str(len(model.versions) + 1)
        model.versions[version] = folder
        model.aliases[alias] = version
        return version

    def start(self) -> None:
        """Listens, on the same port as before."""
        registry = self

        class Handler(_Handler):
            state = registry

        self._server = _Server(("127.0.0.1", self.port), Handler)
        self.port = self._server.server_port
        Thread(target=self._server.serve_forever, args=(0.01,), daemon=True).start()

    def stop(self) -> None:
        """Stops as a killed process does: connections under way break."""
        self.go_on.set()
        if self._server:
            self._server.shutdown()
            self._server.server_close()
            self._server = None


class _Server(ThreadingHTTPServer):
    daemon_threads = True

    def handle_error(self, *_: Any) -> None:
        """An API that stops hangs up on us: that is what it is to do."""


class _Handler(BaseHTTPRequestHandler):
    state: RegistryServer

    def do_GET(self) -> None:
        url = urlsplit(self.path)
        query = {name: values[0] for name, values in parse_qs(url.query).items()}
        if self.state.status is not None:
            self._send(self.state.status, b"told to fail")
        elif url.path == "/health":
            self._send(200, b"OK")
        elif self.state.account and self.headers["Authorization"] != self.state.account:
            self._send(401, b"Log in")
        elif url.path == ARTIFACTS.rstrip("/"):
            self._list_files(query["path"])
        elif url.path.startswith(ARTIFACTS):
            self._send_file(unquote(url.path.removeprefix(ARTIFACTS)))
        else:
            self._send_json(url.path.removeprefix("/api/2.0/mlflow/"), query)

    def log_message(self, *_: Any) -> None:
        pass

    def _send_json(self, path: str, query: dict[str, str]) -> None:
        try:
            answer = _answer(self.state, path, query)
        except KeyError:
            self._send(404, b'{"error_code": "RESOURCE_DOES_NOT_EXIST"}')
        else:
            self._send(200, json.dumps(answer).encode())

    def _list_files(self, path: str) -> None:
        name, version, *below = path.split("/")
        folder = self.state.models[name].versions[version].joinpath(*below)
        files = [{"path": file.name, "is_dir": file.is_dir()} for file in folder.iterdir()]
        self._send(200, json.dumps({"files": files}).encode())

    def _send_file(self, path: str) -> None:
        name, version, file = path.split("/", 2)
        try:
            content = (self.state.models[name].versions[version] / file).read_bytes()
        except (KeyError, FileNotFoundError):
            self._send(404, b"")
            return
        if self.state.endless and file.startswith("model."):
            self._send_without_end(content)
            return
        if not file.startswith("model.") or not (self.state.cut or self.state.pause):
            self._send(200, content)
            return
        self.send_response(200)
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content[: len(content) // 2])
        self.wfile.flush()
        self.state.half_sent.set()
        if self.state.pause and self.state.go_on.wait(30) and not self.state.cut:
            self.wfile.write(content[len(content) // 2 :])
        else:
            self.connection.shutdown(socket.SHUT_RDWR)

    def _send_without_end(self, content: bytes) -> None:
        self.send_response(200)
        self.end_headers()
        with suppress(OSError):  # As soon as nobody reads any more.
            while self.state.sent < ENDLESS_BYTES:
                self.wfile.write(content)
                self.state.sent += len(content)

    def _send(self, status: int, content: bytes) -> None:
        self.send_response(status)
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)


def _answer(registry: RegistryServer, path: str, query: dict[str, str]) -> Any:
    if path == "registered-models/search":
        return {
            "registered_models": [
                {
                    "name": name,
                    "creation_timestamp": model.created,
                    "last_updated_timestamp": model.updated,
                    "aliases": [{"alias": a, "version": v} for a, v in model.aliases.items()],
                }
                for name, model in registry.models.items()
            ]
        }
    if path == "runs/get":
        known = {"data": {"metrics": [{"key": "accuracy", "value": 0.9}]}}
        return {"run": registry.runs.get(query["run_id"], known)}
    name, version = query["name"], query["version"]
    model = registry.models[name]
    if path == "model-versions/get-download-uri":
        return {"artifact_uri": f"mlflow-artifacts:/{name}/{version}"}
    _ = model.versions[version]
    return {
        "model_version": {
            "name": name,
            "version": version,
            "creation_timestamp": model.created,
            "run_id": f"run-{version}",
            "source": f"models:/m-{version}",
            "tags": [{"key": name, "value": value} for name, value in model.tags.items()],
        }
    }


@contextmanager
def running() -> Iterator[RegistryServer]:
    """A registry that is there until the block ends."""
    server = RegistryServer()
    server.start()
    try:
        yield server
    finally:
        server.stop()
