"""One prediction, from the body of a request to the answer. Runs in a thread."""

from typing import Any

import msgspec
from starlette.datastructures import Headers
from starlette.responses import Response

from api_host import codecs, columns, invocations, metrics, tensors
from api_host.catalog import Served
from api_host.enforcement import invalid
from api_host.problems import PREDICTION_FAILED, Problem, too_many_rows
from api_host.schema import Table

JSON = "application/json"


def score(served: Served, body: bytes, headers: Headers, *, most_rows: int) -> Response:
    """The answer of `/v1/models/{name}/predict`."""
    content_type = headers.get("Content-Type", "")
    table = codecs.decode(body, content_type, served.model.signature, most_rows=most_rows)
    document = {
        "model": {"name": served.version.name, "version": served.version.version},
        "predictions": _predict(served, table),
    }
    return Response(msgspec.json.encode(document, enc_hook=_as_list), media_type=JSON)


def infer(served: Served, body: bytes, headers: Headers, *, most_rows: int) -> Response:
    """The answer of `/v2/models/{name}/infer`."""
    question = tensors.decode(body, headers, most_rows=most_rows)
    table = columns.to_table(question.inputs, served.model.signature)
    outputs = columns.to_arrays(_predict(served, table))
    return tensors.encode(outputs, question, served.version.name, served.version.version)


def invoke(served: Served, body: bytes, headers: Headers, *, most_rows: int) -> Response:
    """The answer of `/invocations`."""
    model, version = served.model, served.version
    table = invocations.decode(body, headers.get("Content-Type", ""), model.signature)
    if len(table) > most_rows:
        raise too_many_rows(len(table), most_rows)
    try:
        predictions = model.predict(table)
    except Exception as error:
        raise invalid(f"the model says: {error}") from error
    metrics.ROWS.labels(version.name, version.version).inc(len(table))
    return Response(invocations.encode(predictions), media_type=JSON)


def _predict(served: Served, table: Table) -> Any:
    try:
        predictions = served.model.predict(table)
    except Exception as error:  # The model is a stranger's, and so is the input.
        raise Problem(PREDICTION_FAILED, f"the model says: {error}") from error
    metrics.ROWS.labels(served.version.name, served.version.version).inc(len(table))
    return predictions


def _as_list(array: Any) -> Any:
    return array.tolist()
