"""Several requests in one call of a model: their rows joined, its predictions split again."""

from collections.abc import Sequence
from typing import Any

import numpy as np

from api_host.models.model import Model
from api_host.outputs import Outputs
from api_host.table import Table, join


def predict_all(model: Model, tables: Sequence[Table]) -> Sequence[Any]:
    """The predictions of each table, or the exception that it gives.

    Where they cannot be had together, each is asked for by itself: what is wrong with one request
    is not the others'.
    """
    joint = join(tables) if len(tables) > 1 else None
    if joint is not None:
        parts = _split(_predict(model, joint), [len(table) for table in tables])
        if parts is not None:
            return parts
    return [_predict(model, table) for table in tables]


def _predict(model: Model, table: Table) -> Any:
    try:
        return model.predict(table)
    except Exception as error:  # noqa: BLE001 - a model may raise whatever it likes
        return error


def _split(predictions: Any, lengths: Sequence[int]) -> Sequence[Any] | None:
    """Each request's part; None if the model raised, or did not give a prediction a row."""
    if isinstance(predictions, Exception):
        return None
    if isinstance(predictions, Outputs):
        return predictions.split(lengths)
    several = isinstance(predictions, list)  # Scikit-learn's form of several things predicted.
    arrays = [np.asarray(array) for array in (predictions if several else [predictions])]
    if any(array.shape[:1] != (sum(lengths),) for array in arrays):
        return None
    ends = np.cumsum(lengths)
    cuts = [
        [array[end - n : end] for array in arrays] for n, end in zip(lengths, ends, strict=True)
    ]
    return [cut if several else cut[0] for cut in cuts]
