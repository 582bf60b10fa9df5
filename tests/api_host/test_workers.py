"""Several workers on one socket are one host to Prometheus."""

import os
import signal
import socket
import subprocess
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Self

import httpx
import stamina
from prometheus_client.parser import text_string_to_metric_families

from api_host import metrics
from api_host.settings import ApiSettings
from tests.api_host.registry_server import RegistryServer
from tests.api_host.test_serve import STOP_SECONDS, activated, serving, until_told
from tests.docs.pages import documented_metrics, documented_process_metrics, shown_metrics

WAIT_SECONDS = 120.0

WITHOUT_RATES = {
    "API_RATE_REQUESTS": "0",
    "API_RATE_ROWS": "0",
    "API_RATE_CONCURRENT": "0",
}
"""A worker that is stopped while it counts for its callers would make the others wait for it."""

Worker = subprocess.Popen[bytes]


class Host:
    """Workers as systemd starts them: on one socket, and with folders that they share."""

    def __init__(self, registry: RegistryServer, folder: Path) -> None:
        self._registry = registry
        self._folder = folder
        self._stack = ExitStack()
        self._started = 0

    def __enter__(self) -> Self:
        self._listener = self._stack.enter_context(socket.create_server(("127.0.0.1", 0)))
        self._systemd = self._stack.enter_context(socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM))
        self._systemd.bind(str(self._folder / "notify"))
        self._systemd.settimeout(WAIT_SECONDS)
        self._port: int = self._listener.getsockname()[1]
        self._client = self._stack.enter_context(
            httpx.Client(
                base_url=f"http://127.0.0.1:{self._port}",
                headers={"Connection": "close"},
                timeout=WAIT_SECONDS,
            )
        )
        return self

    def __exit__(self, *_: object) -> None:
        self._stack.close()

    def start(self) -> Worker:
        """One more worker, which is ready."""
        self._started += 1
        folder = self._folder / str(self._started)
        folder.mkdir()
        worker = self._stack.enter_context(
            serving(
                self._registry,
                folder,
                self._port,
                args=activated(self._listener),
                pass_fds=(self._listener.fileno(),),
                API_WORKERS="2",
                **WITHOUT_RATES,
                STATE_DIRECTORY=str(self._folder / "state"),
                RUNTIME_DIRECTORY=str(self._folder / "run"),
                NOTIFY_SOCKET=str(self._folder / "notify"),
            )
        )
        until_told(self._systemd, "READY=1")
        return worker

    def reload(self, worker: Worker) -> None:
        """Lets a worker start again in its own place."""
        worker.send_signal(signal.SIGHUP)
        until_told(self._systemd, "RELOADING=1")
        until_told(self._systemd, "READY=1")

    def get(self, path: str) -> httpx.Response:
        """What the worker answers that takes the connection, which is a new one."""
        return self._client.get(path).raise_for_status()

    def ask(self, times: int) -> None:
        """Asks for the version, over as many connections."""
        for _ in range(times):
            self.get("/version")

    def numbers(self, name: str, **labels: str) -> list[float]:
        """The samples of a metric with these labels."""
        return [
            sample.value
            for family in text_string_to_metric_families(self.get("/metrics").text)
            for sample in family.samples
            if sample.name == name and labels.items() <= sample.labels.items()
        ]

    def until(self, expected: list[float], name: str, **labels: str) -> None:
        """Waits until a metric has these samples: what is counted, is so after its answer."""
        for attempt in stamina.retry_context(
            on=AssertionError, attempts=None, timeout=WAIT_SECONDS, wait_max=0.5
        ):
            with attempt:
                assert self.numbers(name, **labels) == expected


@contextmanager
def only(worker: Worker, other: Worker) -> Iterator[None]:
    """In the block one of two workers answers, and the other does nothing."""
    assert worker.poll() is None
    other.send_signal(signal.SIGSTOP)
    # Until then it may take one more connection, which nobody would answer.
    os.waitid(os.P_PID, other.pid, os.WSTOPPED | os.WNOWAIT)
    try:
        yield
    finally:
        other.send_signal(signal.SIGCONT)


def test_requests_are_counted_once_whoever_answers_and_whoever_is_killed(
    registry: RegistryServer, tmp_path: Path
) -> None:
    with Host(registry, tmp_path) as host:
        one, other = host.start(), host.start()

        def expect(count: int) -> None:
            host.until([count], "tripod_api_requests_total", route="version", status="200")
            host.until([count], "tripod_api_request_seconds_count", route="version")
            host.until([count], "tripod_api_request_seconds_bucket", route="version", le="+Inf")

        host.ask(50)
        expect(50)
        with only(one, other):
            host.ask(20)
            expect(70)
        with only(other, one):
            host.ask(30)
            expect(100)
        one.kill()
        one.wait()
        expect(100)
        one = host.start()
        with only(one, other):
            expect(100)
            host.ask(10)
            expect(110)
        host.reload(other)
        with only(other, one):
            expect(110)
            host.ask(10)
            expect(120)
        other.terminate()
        assert other.wait(STOP_SECONDS) == 0
        expect(120)


def test_what_is_not_counted_is_told_of_each_worker_or_once_for_all(
    registry: RegistryServer, tmp_path: Path, models: Path
) -> None:
    registry.promote("iris", models / "linear")
    with Host(registry, tmp_path) as host:
        one, other = host.start(), host.start()
        for answering, silent in ((one, other), (other, one)):
            with only(answering, silent):
                host.until([1, 1], "python_info")
                memory = host.numbers("process_resident_memory_bytes")
                assert len(memory) == 2
                assert min(memory) > 2**20
                assert host.numbers("tripod_api_model_served", model="iris", version="1") == [1]
                page = host.get("/metrics").text
                documented = documented_metrics("api-host") | documented_process_metrics()
                assert shown_metrics(page) == documented
        registry.promote("iris", models / "forest")
        host.until([], "tripod_api_model_served", version="1")
        host.until([1], "tripod_api_model_served", version="2")
        registry.stop()
        host.until([0], "tripod_api_link_up", link="mlflow")
        one.kill()
        one.wait()
        assert len(host.numbers("python_info")) == 1


def test_one_worker_forgets_what_several_have_counted(settings: ApiSettings) -> None:
    old = settings.metrics_folder / "0"
    old.parent.mkdir(parents=True)
    old.touch()
    assert metrics.share(settings) is None
    assert not old.parent.exists()
