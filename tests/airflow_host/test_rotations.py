"""What is done when a secret of the Airflow host is replaced."""

import re
from pathlib import Path

import pytest

from airflow_host.rotations import ROTATIONS, SCHEDULER
from hostkit.rotation import Change

UNIT = Path("deploy/systemd/airflow-host") / SCHEDULER
LOADED = re.findall(r"^LoadCredential=(\w+):", UNIT.read_text(), re.MULTILINE)

DRAIN, RESTART = "drain", "restart the scheduler"


class Diary:
    """A server on which everything runs and uses every secret: what is done there, in order."""

    def __init__(self) -> None:
        self.done: list[str] = []

    def write(self, name: str, value: str) -> None: ...

    def users(self, name: str) -> tuple[str, ...]:  # noqa: ARG002
        return (SCHEDULER,)

    def restart(self, units: tuple[str, ...]) -> None:
        if SCHEDULER in units:
            self.done.append(RESTART)

    def is_running(self, unit: str) -> bool:  # noqa: ARG002
        return True

    def run(self, *arguments: str) -> None:
        self.done.append(arguments[0])


@pytest.mark.parametrize("name", LOADED)
def test_the_scheduler_is_restarted_only_when_no_task_runs(name: str) -> None:
    server = Diary()
    for step in ROTATIONS[name].steps:
        step.act(server, Change(name, "former", "new"))
    before = server.done[: server.done.index(RESTART)] if RESTART in server.done else [DRAIN]
    assert DRAIN in before


def test_tasks_are_given_secrets() -> None:
    assert {"MODEL_SIGNING_KEY", "MLFLOW_TRACKING_PASSWORD"} < set(LOADED)
