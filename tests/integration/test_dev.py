"""Dev mode as a developer runs it: what it prints, how it fails, and that nothing of it stays."""

import json
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest

from dev_hosts.ports import LOOPBACK, free_ports

STOP_SECONDS = 10.0
"""How long everything may take to stop after Ctrl-C."""

DEADLINE_SECONDS = 900.0


class Dev:
    """A dev mode that was started; `errors` is its standard error."""

    def __init__(self, state: Path, *options: str) -> None:
        self.state = state
        self.errors = state.with_name(f"stderr-{time.monotonic_ns()}")
        with self.errors.open("w") as errors:
            self.process = subprocess.Popen(
                [
                    *(sys.executable, "dev_hosts.pex", "--pexes", ".", "--state", str(state)),
                    *options,
                ],
                stdout=subprocess.PIPE,
                stderr=errors,
                text=True,
            )

    def end(self) -> tuple[int, str]:
        """Waits for its end: the exit code and its standard output."""
        output, _ = self.process.communicate(timeout=DEADLINE_SECONDS)
        return self.process.returncode, output

    def wait_for(self, text: str) -> None:
        """Waits until it says something."""
        deadline = time.monotonic() + DEADLINE_SECONDS
        while text not in self.errors.read_text():
            assert self.process.poll() is None, self.errors.read_text()
            assert time.monotonic() < deadline, self.errors.read_text()
            time.sleep(0.1)

    def left_behind(self) -> list[str]:
        """Command lines of hosts that still run."""
        return [
            " ".join(process.info["cmdline"])
            for process in psutil.process_iter(["cmdline"])
            if str(self.state) in " ".join(process.info["cmdline"] or ())
            and process.pid != self.process.pid
        ]


@pytest.fixture
def state(tmp_path: Path) -> Path:
    return tmp_path / "state"


def test_once_prints_one_json_document_and_leaves_nothing_running(state: Path) -> None:
    dev = Dev(state, "--once", "--json", "--ports", "auto")
    code, output = dev.end()
    assert code == 0, dev.errors.read_text()
    document = json.loads(output)
    assert set(document) == {"urls", "grpc", "model", "prediction", "seconds"}
    assert set(document["urls"]) == {"mlflow", "airflow", "api"}
    assert set(document["model"]) == {"name", "version", "alias", "metrics"}
    assert set(document["seconds"]) == {"build", "start", "train", "serve"}
    assert len(document["prediction"]["predictions"]) == len(document["prediction"]["rows"])
    assert dev.left_behind() == []


@pytest.mark.parametrize("moment", ["api is healthy", "airflow api-server is healthy"])
def test_ctrl_c_stops_all_hosts_within_seconds(state: Path, moment: str) -> None:
    dev = Dev(state, "--ports", "auto")
    dev.wait_for(moment)
    interrupted = time.monotonic()
    dev.process.send_signal(signal.SIGINT)
    code, _ = dev.end()
    assert code == 130
    assert time.monotonic() - interrupted < STOP_SECONDS
    assert dev.left_behind() == []


def test_a_taken_port_is_named_and_nothing_is_started(state: Path) -> None:
    free = free_ports()
    with socket.create_server((LOOPBACK, 0)) as server:
        taken = server.getsockname()[1]
        dev = Dev(state, "--once", "--ports", f"{free.mlflow},{taken},{free.api},{free.grpc}")
        code, _ = dev.end()
    assert code == 1
    assert f"port {taken}, wanted for airflow, is taken" in dev.errors.read_text()
    assert "Traceback" not in dev.errors.read_text()
    assert dev.left_behind() == []


@pytest.mark.parametrize(
    ("host", "variable"), [("airflow", "TRAINING_MARGIN"), ("api", "API_MAX_ROWS")]
)
def test_a_host_with_a_wrong_setting_is_named_with_what_it_said(
    state: Path, host: str, variable: str
) -> None:
    (state / host).mkdir(parents=True)
    (state / host / "env").write_text(f"{variable}=less than nothing\n")
    dev = Dev(state, "--once", "--ports", "auto")
    code, _ = dev.end()
    said = dev.errors.read_text()
    assert code == 1
    assert f"{variable} is 'less than nothing' in {state}/{host}/env line 1" in said
    assert "Traceback" not in said
    assert dev.left_behind() == []


def test_a_state_that_is_in_use_is_refused(state: Path) -> None:
    first = Dev(state, "--ports", "auto")
    first.wait_for("api is healthy")
    second = Dev(state, "--ports", "auto")
    code, _ = second.end()
    assert code == 1
    assert "is in use" in second.errors.read_text()
    first.process.send_signal(signal.SIGINT)
    first.end()
