"""One prediction, from the body of a request to the body of its answer. Runs in a thread."""

from typing import Any

import msgspec
import numpy as np

from api_host import codecs, metrics
from api_host.catalog import Served
from api_host.problems import PREDICTION_FAILED, Problem


def score(served: Served, body: bytes, content_type: str, *, most_rows: int) -> bytes:
    """The answer of `/v1/models/{name}/predict`."""
    model = served.model
    table = codecs.decode(body, content_type, model.signature, most_rows=most_rows)
    try:
        predictions = model.predict(table)
    except Exception as error:  # The model is a stranger's, and so is the input.
        raise Problem(PREDICTION_FAILED, f"the model says: {error}") from error
    version = served.version
    metrics.ROWS.labels(version.name, version.version).inc(len(table))
    return msgspec.json.encode(
        {
            "model": {"name": version.name, "version": version.version},
            "predictions": _as_list(predictions),
        }
    )


def _as_list(predictions: Any) -> list[Any]:
    values: list[Any] = np.asarray(predictions).tolist()
    return values
