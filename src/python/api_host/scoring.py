"""One prediction, from the body of a request to the body of its answer. Runs in a thread."""

from typing import Any

import msgspec

from api_host import codecs, invocations, metrics
from api_host.catalog import Served
from api_host.enforcement import invalid
from api_host.problems import PREDICTION_FAILED, Problem, too_many_rows


def score(served: Served, body: bytes, content_type: str, *, most_rows: int) -> bytes:
    """The answer of `/v1/models/{name}/predict`."""
    model, version = served.model, served.version
    table = codecs.decode(body, content_type, model.signature, most_rows=most_rows)
    try:
        predictions = model.predict(table)
    except Exception as error:  # The model is a stranger's, and so is the input.
        raise Problem(PREDICTION_FAILED, f"the model says: {error}") from error
    metrics.ROWS.labels(version.name, version.version).inc(len(table))
    document = {
        "model": {"name": version.name, "version": version.version},
        "predictions": predictions,
    }
    return msgspec.json.encode(document, enc_hook=_as_list)


def invoke(served: Served, body: bytes, content_type: str, *, most_rows: int) -> bytes:
    """The answer of `/invocations`."""
    model, version = served.model, served.version
    table = invocations.decode(body, content_type, model.signature)
    if len(table) > most_rows:
        raise too_many_rows(len(table), most_rows)
    try:
        predictions = model.predict(table)
    except Exception as error:
        raise invalid(f"the model says: {error}") from error
    metrics.ROWS.labels(version.name, version.version).inc(len(table))
    return invocations.encode(predictions)


def _as_list(array: Any) -> Any:
    return array.tolist()
