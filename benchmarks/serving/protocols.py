"""What is sent to each kind of server, for the same rows."""

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from benchmarks.serving.models import Model

Row = Sequence[float]


@dataclass(frozen=True)
class Protocol:
    """How a server is asked.

    `path`: where, with "{name}" for the model's name.
    `write`: the body for columns and rows.
    `answers_in`: where the predictions are; see `plan.Plan`.
    """

    path: str
    write: Callable[[Sequence[str], Sequence[Row]], object]
    answers_in: str

    def bodies(
        self, model: Model, rows: int
    ) -> tuple[tuple[str, ...], tuple[tuple[str, ...], ...]]:
        """What is sent, with `rows` rows in each, and the right answers."""
        batches = model.batches(rows)
        bodies = (self.write(model.columns, model.rows[batch]) for batch in batches)
        return (
            tuple(json.dumps(body, separators=(",", ":")) for body in bodies),
            tuple(model.answers[batch] for batch in batches),
        )


def _dataframe_split(columns: Sequence[str], rows: Sequence[Row]) -> object:
    return {"dataframe_split": {"columns": list(columns), "data": rows}}


def _tensors(columns: Sequence[str], rows: Sequence[Row]) -> object:
    return {
        "id": "0",  # Or each answer would get an id of its own.
        "parameters": {"content_type": "pd"},
        "inputs": [
            {"name": name, "shape": [len(rows), 1], "datatype": "FP64", "data": list(values)}
            for name, values in zip(columns, zip(*rows, strict=True), strict=True)
        ],
    }


def _records(columns: Sequence[str], rows: Sequence[Row]) -> object:
    return {"rows": [dict(zip(columns, row, strict=True)) for row in rows]}


def _array(columns: Sequence[str], rows: Sequence[Row]) -> object:  # noqa: ARG001
    return {"rows": rows}


MLFLOW = Protocol("/invocations", _dataframe_split, "predictions")
OPEN_INFERENCE = Protocol("/v2/models/{name}/infer", _tensors, "outputs")
OURS = Protocol("/v1/models/{name}/predict", _records, "predictions")
BENTOML = Protocol("/predict", _array, "list")
CONSTANT = Protocol("/", _dataframe_split, "")
