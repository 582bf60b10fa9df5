"""A prediction that a message asks for."""

from typing import Any

from api_host.bounds import Bounds
from api_host.models.catalog import Served
from api_host.rpc import messages
from api_host.rpc.open_inference_pb2 import ModelInferRequest, ModelInferResponse
from api_host.scoring import Question, refuse
from api_host.v2 import columns


def infer(
    served: Served, request: ModelInferRequest, *, bounds: Bounds
) -> Question[ModelInferResponse]:
    """What `ModelInfer` is asked. Raises `Problem`."""
    signature, version = served.model.signature, served.version
    if signature is not None:
        bounds = bounds.fitting(len(signature.columns))
    question = messages.decode(request, bounds=bounds)

    functions = columns.functions_of(question.outputs)

    def answer(predictions: Any) -> ModelInferResponse:
        outputs = columns.to_outputs(predictions, question.outputs)
        return messages.encode(outputs, question, version.name, version.version)

    table = columns.to_table(question.inputs, signature, bounds)
    return Question(table, answer, refuse, functions)
