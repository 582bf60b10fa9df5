"""An Airflow as far as the API host asks: tokens, runs of one DAG, XComs; it fails when told to."""

import base64
import json
import time
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread
from typing import Any
from urllib.parse import unquote, urlsplit

RUNS = "/api/v2/dags/train_model/dagRuns"


class AirflowServer(ThreadingHTTPServer):
    """The server.

    `failures`: statuses that the next requests below /api/v2 get instead of an answer.
    `token_seconds`: how long a new token is good.
    `requests`: what came, as (method, path).
    """

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.url = f"http://127.0.0.1:{self.server_port}"
        self.password = "airflow"
        self.runs: dict[str, dict[str, Any]] = {}
        self.xcoms: dict[tuple[str, str, str], Any] = {}
        self.failed_tasks: list[str] = []
        self.failures: list[int] = []
        self.started_but_failed = False
        self.token = ""
        self.token_seconds = 3600.0
        self.logins = 0
        self.requests: list[tuple[str, str]] = []

    def new_token(self) -> str:
        self.logins += 1
        claims = json.dumps({"exp": time.time() + self.token_seconds, "n": self.logins})
        self.token = f"e30.{base64.urlsafe_b64encode(claims.encode()).decode().rstrip('=')}.x"
        return self.token


class _Handler(BaseHTTPRequestHandler):
    server: AirflowServer

    def do_GET(self) -> None:
        self._answer("GET")

    def do_POST(self) -> None:
        self._answer("POST")

    def log_message(self, *_: Any) -> None:
        pass

    def _answer(self, method: str) -> None:
        airflow, path = self.server, unquote(urlsplit(self.path).path)
        body = json.loads(self.rfile.read(int(self.headers.get("Content-Length", 0))) or b"{}")
        if path == "/auth/token":
            good = body["password"] == airflow.password
            self._send(201, {"access_token": airflow.new_token()}) if good else self._send(401, {})
            return
        airflow.requests.append((method, path))
        if self.headers["Authorization"] != f"Bearer {airflow.token}":
            self._send(403, {"detail": "Invalid JWT token"})
        elif airflow.failures:
            if airflow.started_but_failed and method == "POST":
                self._start(body)
            self._send(airflow.failures.pop(0), {"detail": "told to fail"})
        elif method == "POST":
            self._send(*self._start(body))
        else:
            self._send(*self._get(path.removeprefix(RUNS).strip("/").split("/")))

    def _start(self, body: dict[str, Any]) -> tuple[int, Any]:
        run_id = body["dag_run_id"]
        if run_id in self.server.runs:
            return 409, {"detail": "exists"}
        self.server.runs[run_id] = {**body, "state": "queued", "start_date": None, "end_date": None}
        return 200, self.server.runs[run_id]

    def _get(self, steps: list[str]) -> tuple[int, Any]:
        match steps:
            case [run_id] if run_id in self.server.runs:
                return 200, self.server.runs[run_id]
            case [_, "taskInstances"]:
                tasks = [{"task_id": t, "state": "failed"} for t in self.server.failed_tasks]
                return 200, {"task_instances": tasks}
            case [run_id, "taskInstances", task, "xcomEntries", key]:
                found = (run_id, task, key) in self.server.xcoms
                return (
                    (200, {"value": self.server.xcoms[run_id, task, key]}) if found else (404, {})
                )
        return 404, {"detail": "not found"}

    def _send(self, status: int, document: Any) -> None:
        content = json.dumps(document).encode()
        self.send_response(status)
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)


@contextmanager
def running() -> Iterator[AirflowServer]:
    """An Airflow that is there until the block ends."""
    server = AirflowServer()
    Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
    try:
        yield server
    finally:
        server.shutdown()
        server.server_close()
