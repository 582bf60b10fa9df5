"""How a protocol asks and answers: a body becomes a question, predictions an answer."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

import msgspec
import numpy as np
from numpy.typing import NDArray
from starlette.datastructures import Headers
from starlette.responses import Response

from api_host import codecs, invocations
from api_host.answers import ModelName, Predictions, Probabilities
from api_host.bounds import Bounds
from api_host.documents import JsonText
from api_host.enforcement import invalid
from api_host.models.catalog import Served
from api_host.models.probabilities import PREDICT
from api_host.outputs import Outputs
from api_host.problems import PREDICTION_FAILED, Problem
from api_host.table import Table
from api_host.v2 import columns, tensors, tensors_json

Answer = TypeVar("Answer")


@dataclass(frozen=True)
class Question(Generic[Answer]):
    """A prediction that is asked for.

    `table`: the rows.
    `answer`: makes the answer of the predictions; if `functions` are named, of those of each.
    `refuse`: makes the problem of what the model raised: it is a stranger's, and so is the input.
    `functions`: of the model, that are asked; none for that which it is served for.
    """

    table: Table
    answer: Callable[[Any], Answer]
    refuse: Callable[[Exception], Problem]
    functions: tuple[str, ...] = ()


def score(served: Served, body: bytes, headers: Headers, *, bounds: Bounds) -> Question[Response]:
    """What `/v1/models/{name}/predict` is asked. Raises `Problem`."""
    content_type = headers.get("Content-Type", "")
    table = codecs.decode(body, content_type, served.model.signature, bounds=bounds)
    version = served.version

    def answer(predictions: Any) -> Response:
        if isinstance(predictions, Outputs):
            predictions = by_row(predictions, len(table))
        document = Predictions(ModelName(version.name, version.version), predictions)
        return JsonText(msgspec.json.encode(document, enc_hook=_as_list))

    return Question(table, answer, refuse)


def weigh(served: Served, body: bytes, headers: Headers, *, bounds: Bounds) -> Question[Response]:
    """What `/v1/models/{name}/predict_proba` is asked. Raises `Problem`."""
    content_type = headers.get("Content-Type", "")
    table = codecs.decode(body, content_type, served.model.signature, bounds=bounds)
    version, classes = served.version, served.model.classes or []

    def answer(predictions: Any) -> Response:
        rows = by_row(predictions, len(table))
        document = Probabilities(ModelName(version.name, version.version), classes, rows)
        return JsonText(msgspec.json.encode(document, enc_hook=_as_list))

    return Question(table, answer, refuse)


def infer(served: Served, body: bytes, headers: Headers, *, bounds: Bounds) -> Question[Response]:
    """What `/v2/models/{name}/infer` is asked. Raises `Problem`."""
    question, table = _numbers(served, body, headers, bounds) or _tensors(
        served, body, headers, bounds
    )
    version = served.version

    functions = columns.functions_of(question.outputs) if question.outputs else ()

    def answer(predictions: Any) -> Response:
        by_name = predictions if functions else {PREDICT: predictions}
        outputs = columns.to_outputs(by_name, question.outputs)
        return tensors_json.encode(outputs, question, version.name, version.version)

    return Question(table, answer, refuse, functions)


def _tensors(
    served: Served, body: bytes, headers: Headers, bounds: Bounds
) -> tuple[tensors.Question, Table]:
    signature = served.model.signature
    if signature is not None:
        bounds = bounds.fitting(len(signature.columns))
    question = tensors_json.decode(body, headers, bounds=bounds)
    return question, columns.to_table(question.inputs, signature, bounds)


def _numbers(
    served: Served, body: bytes, headers: Headers, bounds: Bounds
) -> tuple[tensors.Question, Table] | None:
    """The same at once, where the body is of a simple form."""
    signature = served.model.signature
    if signature is None or signature.tensors is None or not tensors_json.is_plain(headers):
        return None
    found = signature.tensors.read(body)
    if found is None or len(found[0]) > bounds.rows:
        return None
    return tensors.Question(found[1], (), (), binary=False), signature.of_numbers(found[0])


def invoke(served: Served, body: bytes, headers: Headers, *, bounds: Bounds) -> Question[Response]:
    """What `/invocations` is asked. Raises `Problem`."""
    model, content_type = served.model, headers.get("Content-Type", "")
    table = invocations.decode(body, content_type, model.signature, model.parameters, bounds=bounds)
    bounds.check_rows(len(table))

    def answer(predictions: Any) -> Response:
        return JsonText(invocations.encode(predictions))

    return Question(table, answer, lambda error: invalid(f"the model says: {error}"))


def refuse(error: Exception) -> Problem:
    """What is said of an error that a model raised: it is a stranger's, and so is the input."""
    return Problem(PREDICTION_FAILED, f"the model says: {error}")


def by_row(predictions: Any, count: int) -> NDArray[Any]:
    """The predictions, one a row; scikit-learn gives a list where it predicts several things."""
    if isinstance(predictions, Outputs):
        try:
            predictions = predictions.by_row()
        except ValueError as error:
            raise Problem(PREDICTION_FAILED, f"{error}: ask /v2, or /invocations") from None
    if isinstance(predictions, list) and all(isinstance(p, np.ndarray) for p in predictions):
        values = np.empty(count, dtype=object)
        values[:] = [list(row) for row in zip(*(p.tolist() for p in predictions), strict=True)]
    else:
        values = np.asarray(predictions)
    if values.ndim == 0 or len(values) != count:
        detail = f"the model gave {values.size} predictions for {count} rows"
        raise Problem(PREDICTION_FAILED, detail)
    return values


def _as_list(array: Any) -> Any:
    return array.tolist()
