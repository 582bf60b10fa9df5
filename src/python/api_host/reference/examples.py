"""Examples for the API's document that work where they are read: with a model that is served."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from api_host.models.catalog import Catalog, Served
from api_host.questions import (
    DataframeRecords,
    InferenceRequest,
    Inputs,
    InputTensor,
    Row,
    Rows,
    TrainingOrder,
)

if TYPE_CHECKING:  # Scikit-learn takes seconds to import: not before this host answers.
    from api_host.schema import Signature


@dataclass(frozen=True)
class Example:
    """A model and a row for it.

    `tensors`: the row as v2 has it.
    `has_probabilities`: whether it has `predict_proba`.
    """

    name: str
    version: str
    alias: str
    row: Row
    tensors: Sequence[InputTensor]
    has_probabilities: bool = True

    @property
    def rows(self) -> Rows:
        """For `/v1`."""
        return Rows([self.row])

    @property
    def csv(self) -> str | None:
        """For `/v1` and MLflow's protocol; None where the columns have no names."""
        if not isinstance(self.row, dict):
            return None
        values = ("" if value is None else str(value) for value in self.row.values())
        return f"{','.join(self.row)}\n{','.join(values)}\n"

    @property
    def invocation(self) -> DataframeRecords | Inputs:
        """For MLflow's protocol."""
        rows = [self.row]
        return DataframeRecords(rows) if isinstance(self.row, dict) else Inputs(rows)

    @property
    def inference(self) -> InferenceRequest:
        """For v2."""
        return InferenceRequest(list(self.tensors))

    @property
    def training(self) -> TrainingOrder:
        """For Airflow."""
        return TrainingOrder(self.name)


SHIPPED = Example(
    name="iris",
    version="1",
    alias="champion",
    row={"sepal_length": 5.1, "sepal_width": 3.5, "petal_length": 1.4, "petal_width": 0.2},
    tensors=(InputTensor("input-0", [1, 4], "FP64", data=[[5.1, 3.5, 1.4, 0.2]]),),
)
"""For a host that serves nothing yet, or only models that were logged without a signature."""

VALUES: Mapping[str, Any] = {
    "boolean": True,
    "integer": 1,
    "long": 1,
    "float": 0.5,
    "double": 0.5,
    "string": "text",
    "binary": "Ynl0ZXM=",
    "datetime": "2026-01-31T12:00:00",
}
"""For each type of a signature, for models that were logged without an example."""


def example_of(catalog: Catalog, preferred: str | None = None) -> Example:
    """An example with a model that is served, if there is one.

    `preferred`: the model that MLflow's protocol asks.
    """
    names = sorted(catalog.served, key=lambda name: (name != preferred, name))
    for name, served in ((name, catalog.served[name]) for name in names):
        signature = served.model.signature
        if signature and served.alias:
            row = served.model.example[0] if served.model.example else _made_up(signature)
            tensors = _tensors(served, list(row.values()) if isinstance(row, dict) else row)
            version, has = served.version.version, served.model.classes is not None
            return Example(name, version, served.alias, row, tensors, has)
    return SHIPPED


def _made_up(signature: "Signature") -> Row:
    values = {str(column.name): VALUES[column.kind.name] for column in signature.columns}
    return values if signature.named else list(values.values())


def _tensors(served: Served, values: list[Any]) -> Sequence[InputTensor]:
    # Imported here, where a model is loaded already: see predictions.
    from api_host.v2 import columns  # noqa: PLC0415

    tensors = columns.describe_inputs(served.model.signature)
    if len(tensors) == len(values):
        pairs = zip(tensors, values, strict=True)
        return [InputTensor(each.name, [1], each.datatype, data=[value]) for each, value in pairs]
    return [InputTensor(t.name, [1, len(values)], t.datatype, data=[values]) for t in tensors]
