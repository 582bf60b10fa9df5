"""Tensors of v2 over gRPC: values in the field of their type, or binary data beside the inputs."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from api_host.bounds import Bounds
from api_host.kinds import Kind
from api_host.problems import Mistake, invalid_input, pointer
from api_host.rpc.open_inference_pb2 import (
    InferTensorContents,
    ModelInferRequest,
    ModelInferResponse,
)
from api_host.v2.tensors import (
    Question,
    Tensor,
    Wanted,
    WrongInput,
    check,
    datatype,
    from_binary,
    refuse_unknown,
    to_binary,
    to_texts,
)

CONTENTS = "contents"

_FIELDS = {
    "BOOL": "bool_contents",
    "INT8": "int_contents",
    "INT16": "int_contents",
    "INT32": "int_contents",
    "INT64": "int64_contents",
    "UINT8": "uint_contents",
    "UINT16": "uint_contents",
    "UINT32": "uint_contents",
    "UINT64": "uint64_contents",
    "FP32": "fp32_contents",
    "FP64": "fp64_contents",
    "BYTES": "bytes_contents",
}
"""The field that holds the values of a datatype. FP16 has none: it is binary data always."""


def decode(request: ModelInferRequest, *, bounds: Bounds) -> Question:
    """What is asked. Raises `Problem`."""
    bounds.check_columns(max(len(request.inputs), len(request.outputs)))
    bounds.check_strings([request.id, *(each.name for each in request.inputs)])
    mistakes: list[Mistake] = []
    binaries = request.raw_input_contents
    if binaries and len(binaries) != len(request.inputs):
        detail = f"must be as many as the inputs, {len(request.inputs)}, and are {len(binaries)}"
        raise invalid_input([Mistake("/raw_input_contents", detail)])
    inputs = tuple(_tensors(request, bounds.rows, mistakes))
    if not inputs and not mistakes:
        mistakes.append(Mistake("/inputs", "must have at least one tensor"))
    for index, output in enumerate(request.outputs):
        mistakes += refuse_unknown(output.parameters, "outputs", index)
    if mistakes:
        raise invalid_input(mistakes)
    outputs = tuple(Wanted(output.name, bool(binaries)) for output in request.outputs)
    return Question(request.id or None, inputs, outputs, bool(binaries))


def encode(
    outputs: Mapping[str, NDArray[Any]], question: Question, name: str, version: str
) -> ModelInferResponse:
    """The answer: those of the outputs that the question wants, in its order and its form.

    `name`, `version`: of the model.
    Raises `Problem` if there is no such output.
    """
    response = ModelInferResponse(model_name=name, model_version=version, id=question.id or "")
    arrays = [(wanted.name, outputs[wanted.name]) for wanted in question.choose(outputs)]
    # All outputs are of one form: clients find binary data by the place of the output.
    binary = question.binary or any(datatype(array.dtype) not in _FIELDS for _, array in arrays)
    for output, array in arrays:
        tensor = response.outputs.add(
            name=output, datatype=datatype(array.dtype), shape=array.shape
        )
        if binary:
            response.raw_output_contents.append(to_binary(array))
        else:
            _values(tensor.contents, tensor.datatype).extend(_elements(array))
    return response


def _tensors(
    request: ModelInferRequest, most_rows: int, mistakes: list[Mistake]
) -> Iterable[Tensor]:
    binaries: Sequence[bytes | None] = request.raw_input_contents or [None] * len(request.inputs)
    for index, (given, data) in enumerate(zip(request.inputs, binaries, strict=True)):
        mistakes += refuse_unknown(given.parameters, "inputs", index)
        try:
            kind, count = check(index, given.datatype, given.shape, most_rows)
            if data is None:
                array = _from_contents(index, given, kind, count)
            else:
                array = _from_binary(index, given, kind, count, data)
        except WrongInput as error:
            mistakes += error.mistakes
        else:
            yield Tensor(index, given.name, tuple(given.shape), array, member=CONTENTS)


def _from_binary(
    index: int, given: ModelInferRequest.InferInputTensor, kind: Kind, count: int, data: bytes
) -> NDArray[Any]:
    if given.contents.ListFields():
        place = pointer("inputs", index, CONTENTS)
        raise WrongInput(Mistake(place, "must be empty, as there are raw_input_contents"))
    return from_binary(kind, count, data, pointer("raw_input_contents", index))


def _from_contents(
    index: int, given: ModelInferRequest.InferInputTensor, kind: Kind, count: int
) -> NDArray[Any]:
    place = pointer("inputs", index, CONTENTS)
    right = _FIELDS.get(kind.name)
    if right is None:
        detail = f"cannot hold {kind.name}: send it as raw_input_contents"
        raise WrongInput(Mistake(place, detail))
    for field, _ in given.contents.ListFields():
        if field.name != right:
            detail = f"must be empty: values of {kind.name} are in {right}"
            raise WrongInput(Mistake(pointer("inputs", index, CONTENTS, field.name), detail))
    values = _values(given.contents, kind.name)
    if len(values) != count:
        detail = f"must have {count} values, as the shape says, and has {len(values)}"
        raise WrongInput(Mistake(pointer("inputs", index, CONTENTS, right), detail))
    if kind.dtype.hasobject:
        return np.array(values, dtype=object)
    array, mistakes = kind.read(list(values))
    if mistakes:
        raise WrongInput(*(Mistake(f"{place}/{at}", detail) for at, detail in mistakes))
    return array


def _values(contents: InferTensorContents, name: str) -> Any:
    """The field that holds the values of a datatype."""
    return getattr(contents, _FIELDS[name])


def _elements(array: NDArray[Any]) -> Sequence[Any]:
    if datatype(array.dtype) == "BYTES":
        return to_texts(array)
    values: list[Any] = array.ravel().tolist()
    return values
