"""Processes: what becomes of them is told, and nothing of them stays."""

import time
from collections.abc import Callable, Iterator
from pathlib import Path

import httpx
import psutil
import pytest

from dev_hosts.errors import HostDiedError
from dev_hosts.ports import free_ports
from dev_hosts.process import Health, HostProcess, adopt_orphans, kill_descendants, stop_all
from tests.dev_hosts.programs import run

DEADLINE_SECONDS = 20.0

STUBBORN = """
import os, signal, time
signal.signal(signal.SIGTERM, signal.SIG_IGN)
if os.fork() == 0:
    print("ready", flush=True)
time.sleep(600)
"""

ORPHAN_MAKER = """
import subprocess, sys
subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"], start_new_session=True)
"""

SERVER = """
import http.server, sys
class Handler(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        self.send_response(200); self.end_headers()
        self.wfile.write(b'{"scheduler": {"status": "%s"}}')
http.server.HTTPServer(("127.0.0.1", %d), Handler).serve_forever()
"""


@pytest.fixture
def client() -> Iterator[httpx.Client]:
    with httpx.Client(trust_env=False, timeout=5) as client:
        yield client


def wait_for(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + DEADLINE_SECONDS
    while not condition():
        assert time.monotonic() < deadline, "waited in vain"


def descendants(process: HostProcess) -> list[psutil.Process]:
    return psutil.Process(process.pid).children(recursive=True)


def test_a_process_that_dies_is_named_with_its_exit_code_and_last_lines(
    tmp_path: Path, client: httpx.Client
) -> None:
    process = run(tmp_path, "print('the disk is on fire'); raise SystemExit(3)")
    wait_for(lambda: not process.is_running())
    with pytest.raises(
        HostDiedError, match=r"program ended with exit code 3; .*program\.log"
    ) as caught:
        process.is_healthy(client)
    assert "the disk is on fire" in str(caught.value)


def test_only_lines_of_the_present_start_are_shown(tmp_path: Path, client: httpx.Client) -> None:
    (tmp_path / "program.log").write_text("of an earlier start\n")
    process = run(tmp_path, "raise SystemExit(1)")
    wait_for(lambda: not process.is_running())
    with pytest.raises(HostDiedError) as caught:
        process.is_healthy(client)
    assert "earlier" not in str(caught.value)


def test_it_is_not_healthy_before_it_answers(tmp_path: Path, client: httpx.Client) -> None:
    process = run(tmp_path, "import time; time.sleep(600)")
    assert not process.is_healthy(client)
    process.stop()


@pytest.mark.parametrize(("status", "healthy"), [("healthy", True), ("unhealthy", False)])
def test_a_component_counts_only_when_the_answer_calls_it_healthy(
    tmp_path: Path, client: httpx.Client, status: str, healthy: bool
) -> None:
    port = free_ports().api
    url = f"http://127.0.0.1:{port}"
    process = run(tmp_path, SERVER % (status, port), health=Health(url, "scheduler"))
    wait_for(lambda: Health(url).answers(client))
    assert process.is_healthy(client) is healthy
    process.stop()


def test_stopping_kills_what_does_not_stop_by_itself_and_its_children(tmp_path: Path) -> None:
    process = run(tmp_path, STUBBORN)
    wait_for(lambda: "ready" in process.program.log.read_text())
    family = [psutil.Process(process.pid), *descendants(process)]
    assert len(family) == 2
    stop_all([process], seconds=0.5)
    assert not any(member.is_running() for member in family)


def test_orphans_are_adopted_and_killed(tmp_path: Path) -> None:
    adopt_orphans()
    process = run(tmp_path, ORPHAN_MAKER)
    wait_for(lambda: not process.is_running())
    assert psutil.Process().children()
    kill_descendants()
    assert not psutil.Process().children()
