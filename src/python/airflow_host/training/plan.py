"""What the tasks of a training hand to one another: small documents. The table goes by file."""

from dataclasses import dataclass
from typing import Literal

Kind = Literal["classification", "regression"]

CANDIDATES = ("linear", "forest", "boosting")
"""The kinds of model that are tried, in the order in which they win where they are equally good."""


@dataclass(frozen=True)
class Job:
    """One training, the same for all its tasks.

    `dag_run_id`: Airflow's id of the run, by which a task that is tried again finds its work.
    `request_id`: the id of the request that asked for it; None where nobody gave one.
    `model_name`: the registered model in MLflow.
    `data_uri`: where the table is.
    `target`: the column to predict.
    `margin`: by how much the champion must be beaten.
    `fingerprint`: SHA-256 of the table's bytes.
    `kind`: "classification" or "regression".
    `dag_id`: Airflow's id of the DAG; None where an older release began the training.
    """

    dag_run_id: str
    request_id: str | None
    model_name: str
    data_uri: str
    target: str
    margin: float
    fingerprint: str
    kind: Kind
    dag_id: str | None = None


@dataclass(frozen=True)
class Trained:
    """A candidate that was trained and logged.

    `candidate`: one of `CANDIDATES`.
    `run_id`, `model_id`: its run and its logged model in MLflow.
    `metrics`: by name, on the hold-out rows.
    """

    candidate: str
    run_id: str
    model_id: str
    metrics: dict[str, float]


@dataclass(frozen=True)
class Challenger:
    """The best candidate, registered.

    `version`: the version of the registered model.
    `trained`: the candidate.
    """

    version: str
    trained: Trained
