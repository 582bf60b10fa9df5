"""What three hosts keep, by which a test can tell that a fault lost nothing."""

import uuid
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import httpx

from lab.deadline import wait_for
from lab.deployment import Deployment
from lab.errors import LabError, LateError

TRAIN_SECONDS = 300.0
RECOVER_SECONDS = 180.0

UNITS = {
    "mlflow-host.service": "mlflow",
    "airflow-host-api-server.service": "airflow",
    "airflow-host-scheduler.service": "airflow",
    "airflow-host-dag-processor.service": "airflow",
    "airflow-host-triggerer.service": "airflow",
    "api-host.service": "api",
}
"""The services of the three hosts, and where each runs."""

ROWS = [{"sepal_length": 5.1, "sepal_width": 3.5, "petal_length": 1.4, "petal_width": 0.2}]
"""Rows for the shipped example's model."""


@dataclass(frozen=True)
class Inventory:
    """What is recorded.

    `versions`: the registered versions of the model, with the run that made each.
    `runs`: the finished runs in MLflow.
    `trainings`: the ids of the trainings that succeeded, as Airflow knows them.
    """

    versions: frozenset[tuple[str, str]]
    runs: frozenset[str]
    trainings: frozenset[str]

    def lacks(self, before: "Inventory") -> str:
        """What was recorded before and is not now, in words; "nothing" if all is there."""
        lost = [
            *(f"version {version}" for version, _ in sorted(before.versions - self.versions)),
            *(f"run {run}" for run in sorted(before.runs - self.runs)),
            *(f"training {training}" for training in sorted(before.trainings - self.trainings)),
        ]
        return ", ".join(lost) or "nothing"


class Estate:
    """The three hosts as a client and an operator see them."""

    def __init__(self, deployment: Deployment) -> None:
        self.deployment = deployment
        self.lab = deployment.lab

    def inventory(self) -> Inventory:
        """What is recorded now."""
        with self.deployment.connect("mlflow") as mlflow:
            versions = _json(mlflow.get("/api/2.0/mlflow/model-versions/search"))["model_versions"]
            experiments = _json(mlflow.get("/api/2.0/mlflow/experiments/search?max_results=100"))[
                "experiments"
            ]
            wanted = {
                "experiment_ids": [experiment["experiment_id"] for experiment in experiments],
                "filter": "attributes.status = 'FINISHED'",
                "max_results": 5000,
            }
            runs = _json(mlflow.post("/api/2.0/mlflow/runs/search", json=wanted)).get("runs", [])
        return Inventory(
            frozenset((version["version"], version["run_id"]) for version in versions),
            frozenset(run["info"]["run_id"] for run in runs),
            frozenset(self._succeeded_trainings()),
        )

    def start_training(self) -> str:
        """Asks the API for a training until it takes one, and returns its id."""
        key = {"Idempotency-Key": uuid.uuid4().hex}

        def started() -> str:
            with self.deployment.connect("api") as api:
                response = api.post("/v1/trainings", headers=key)
                return str(response.json()["id"]) if response.is_success else ""

        return wait_for(started, RECOVER_SECONDS, "the start of a training")

    def training(self, training: str) -> dict[str, Any]:
        """The API's document of a training; without a state while nobody can tell."""
        with self.deployment.connect("api") as api:
            try:
                response = api.get(f"/v1/trainings/{training}")
            except httpx.TransportError:
                return {"state": None}
            return _json(response) if response.is_success else {"state": None}

    def wait_for_training(self, training: str) -> dict[str, Any]:
        """The API's document of a training that has ended."""

        def ended() -> dict[str, Any] | None:
            document = self.training(training)
            return document if document["state"] in ("succeeded", "failed") else None

        document = wait_for(ended, TRAIN_SECONDS, f"the end of training {training}")
        assert document is not None
        return document

    def wait_for_task(self, training: str, task: str) -> None:
        """Returns while a task of a training runs."""

        def runs() -> bool:
            path = f"dags/train_model/dagRuns/{training}/taskInstances"
            tasks = _json(self._airflow(path))["task_instances"]
            return any(it["task_id"] == task and it["state"] == "running" for it in tasks)

        wait_for(runs, TRAIN_SECONDS, f"the start of {task} in {training}")

    def wait_until_well(self, is_over: Callable[[], bool] = lambda: True) -> None:
        """Returns when every service is active and every host says that it is well.

        `is_over`: what must be true before that counts.
        Raises `LateError`, with what is not well and the last lines of its log.
        """
        try:
            wait_for(
                lambda: is_over() and not self.ailments(), RECOVER_SECONDS, "recovery of all hosts"
            )
        except LateError as error:
            for ailment in self.ailments():
                error.add_note(ailment)
            for unit, host in UNITS.items():
                if not self._is_active(unit) and self.lab[host].is_on:
                    error.add_note(f"{unit} on {host}:\n{self.lab[host].journal(unit, lines=30)}")
            raise

    def ailments(self) -> list[str]:
        """What is not well, a line each."""
        inactive = [f"{unit} is not active" for unit in UNITS if not self._is_active(unit)]
        return inactive or [*self._complaints()]

    def _is_active(self, unit: str) -> bool:
        try:
            return self.lab[UNITS[unit]].is_active(unit)
        except LabError:
            return False  # A host that boots cannot be asked for its units at first.

    def _complaints(self) -> Iterator[str]:
        try:
            api = _json(self._ask("api", "/"))
            if api["status"] != "ok":
                yield f"the API says {api}"
            self._ask("mlflow", "/health").raise_for_status()
            health = _json(self._ask("airflow", "/api/v2/monitor/health"))
            if {part["status"] for part in health.values()} != {"healthy"}:
                yield f"Airflow says {health}"
        except (httpx.HTTPStatusError, httpx.TransportError) as error:
            yield f"{error.request.url}: {error!r}"

    def _succeeded_trainings(self) -> list[str]:
        answer = self._airflow("dags/train_model/dagRuns?state=success&limit=100")
        return [run["dag_run_id"] for run in _json(answer)["dag_runs"]]

    def _airflow(self, path: str) -> httpx.Response:
        with self.deployment.connect("airflow") as airflow:
            return airflow.get(f"/api/v2/{path}")

    def _ask(self, host: str, path: str) -> httpx.Response:
        with self.deployment.connect(host, timeout=5) as client:
            return client.get(path, headers={"Accept": "application/json"})


def _json(response: httpx.Response) -> Any:
    return response.raise_for_status().json()
