"""Tensors of v2 over HTTP: values in JSON, or binary data that follow the JSON."""

import json
import re
from collections.abc import Iterable, Mapping, Sequence
from itertools import chain
from typing import Any

import msgspec
import numpy as np
from msgspec import UNSET, UnsetType
from numpy.typing import NDArray
from starlette.datastructures import Headers
from starlette.responses import Response

from api_host.answers import Inference, OutputParameters, OutputTensor
from api_host.bounds import Bounds
from api_host.documents import JsonText, mistake
from api_host.kinds import Kind, described
from api_host.problems import (
    INVALID_BODY,
    INVALID_HEADER,
    PREDICTION_FAILED,
    UNSUPPORTED_MEDIA_TYPE,
    Mistake,
    Problem,
    invalid_input,
    pointer,
)
from api_host.questions import InferenceRequest, InputTensor, WantedOutput
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

JSON_LENGTH = "Inference-Header-Content-Length"
"""The header that says how many bytes of a body are JSON; all that follows is binary data."""

BINARY = "application/octet-stream"

ENCODING = "Content-Encoding"

_DIGITS = re.compile(r"[0-9]{1,20}", re.ASCII)


def decode(body: bytes, headers: Headers, *, bounds: Bounds) -> Question:
    """What is asked. Raises `Problem`."""
    encoding = headers.get(ENCODING, "identity")
    if encoding != "identity":
        raise Problem(UNSUPPORTED_MEDIA_TYPE, f"the body is {encoding}: send it uncompressed")
    text, binary = _split(body, headers.get(JSON_LENGTH))
    bounds.check_json(text)
    request = _read(text)
    bounds.check_columns(max(len(request.inputs), len(request.outputs or ())))
    mistakes: list[Mistake] = []
    default = _flag(request.parameters, "binary_data_output", mistakes)
    outputs = tuple(_wanted(request.outputs or (), default=default, mistakes=mistakes))
    inputs = tuple(_tensors(request.inputs, binary, bounds.rows, mistakes))
    if not request.inputs:
        mistakes.append(Mistake("/inputs", "must have at least one tensor"))
    if mistakes:
        raise invalid_input(mistakes)
    return Question(request.id, inputs, outputs, default)


def is_plain(headers: Headers) -> bool:
    """Whether a body is JSON and nothing else."""
    return JSON_LENGTH not in headers and ENCODING not in headers


def encode(
    outputs: Mapping[str, NDArray[Any]], question: Question, name: str, version: str
) -> Response:
    """The answer: those of the outputs that the question wants, in its order.

    `name`, `version`: of the model.
    Raises `Problem` if there is no such output.
    """
    tensors, binaries = [], []
    for output in question.choose(outputs):
        array = outputs[output.name]
        parameters: OutputParameters | UnsetType = UNSET
        data: list[Any] | UnsetType = UNSET
        if output.binary:
            binaries.append(to_binary(array))
            parameters = OutputParameters(len(binaries[-1]))
        else:
            data = _to_json(output.name, array)
        kind = datatype(array.dtype)
        tensors.append(OutputTensor(output.name, array.shape, kind, parameters, data))
    answer_id = UNSET if question.id is None else question.id
    text = msgspec.json.encode(Inference(name, version, tensors, answer_id))
    if not binaries:
        return JsonText(text)
    headers = {JSON_LENGTH: str(len(text))}
    return Response(b"".join([text, *binaries]), headers=headers, media_type=BINARY)


def _split(body: bytes, length: str | None) -> tuple[bytes, memoryview]:
    if length is None:
        return body, memoryview(b"")
    if not _DIGITS.fullmatch(length) or int(length) > len(body):
        raise Problem(
            INVALID_HEADER,
            f"{JSON_LENGTH} must be the length of the JSON, from 0 to {len(body)}",
        )
    return body[: int(length)], memoryview(body)[int(length) :]


def _read(text: bytes) -> InferenceRequest:
    try:
        try:
            return msgspec.json.decode(text, type=InferenceRequest)
        except msgspec.DecodeError:
            if b"NaN" not in text and b"Infinity" not in text:
                raise
            return _read_lenient(text)
    except msgspec.ValidationError as error:
        raise invalid_input([mistake(error)]) from None
    except (msgspec.MsgspecError, ValueError) as error:
        raise Problem(INVALID_BODY, f"the body is not JSON: {error}") from None
    except RecursionError:
        raise Problem(INVALID_BODY, "the body is nested too deeply") from None


def _read_lenient(text: bytes) -> InferenceRequest:
    """Reads NaN and Infinity too, which Triton's client writes although JSON has no such words."""
    document = json.loads(text.decode())
    msgspec.json.encode(document)  # Refuses halves of surrogate pairs, as msgspec's decoder does.
    return msgspec.convert(document, InferenceRequest)


def _flag(
    parameters: Mapping[str, Any] | None, name: str, mistakes: list[Mistake], *steps: str | int
) -> bool:
    value = (parameters or {}).get(name, False)
    if not isinstance(value, bool):
        place = pointer(*steps, "parameters", name)
        mistakes.append(Mistake(place, f"must be true or false, and is {described(value)}"))
    return value is True


def _wanted(
    outputs: Iterable[WantedOutput], *, default: bool, mistakes: list[Mistake]
) -> Iterable[Wanted]:
    for index, output in enumerate(outputs):
        parameters = {"binary_data": default, **(output.parameters or {})}
        mistakes += refuse_unknown(parameters, "outputs", index)
        yield Wanted(output.name, _flag(parameters, "binary_data", mistakes, "outputs", index))


def _binaries(inputs: Sequence[InputTensor], binary: memoryview) -> list[memoryview | None]:
    """The binary data of each input; None for one that has values in JSON."""
    found: list[memoryview | None] = []
    start = 0
    for index, given in enumerate(inputs):
        size = given.binary_size
        if size is None:
            found.append(None)
            continue
        if isinstance(size, bool) or not isinstance(size, int) or size < 0:
            raise invalid_input([_missized(index, "must be a whole number, not negative")])
        left = len(binary) - start
        if size > left:
            detail = f"is {size}, and {left} bytes are left after the JSON"
            raise invalid_input([_missized(index, detail)])
        found.append(binary[start : start + size])
        start += size
    if start != len(binary):
        detail = f"is followed by {len(binary)} bytes, and the inputs have {start}"
        raise invalid_input([Mistake("", detail)])
    return found


def _tensors(
    inputs: Sequence[InputTensor], binary: memoryview, most_rows: int, mistakes: list[Mistake]
) -> Iterable[Tensor]:
    for index, (given, data) in enumerate(zip(inputs, _binaries(inputs, binary), strict=True)):
        mistakes += refuse_unknown(given.parameters or {}, "inputs", index)
        try:
            kind, count = check(index, given.datatype, given.shape, most_rows)
            if data is None:
                yield _from_json(index, given, kind, count)
            else:
                yield _from_binary(index, given, kind, count, data)
        except WrongInput as error:
            mistakes += error.mistakes


def _missized(index: int, detail: str) -> Mistake:
    return Mistake(pointer("inputs", index, "parameters", "binary_data_size"), detail)


def _from_json(index: int, given: InputTensor, kind: Kind, count: int) -> Tensor:
    place = pointer("inputs", index, "data")
    data = given.data
    if data is UNSET:
        raise WrongInput(Mistake(place, "is missing, and there is no binary_data_size"))
    if not isinstance(data, list):
        raise WrongInput(Mistake(place, f"must be an array, and is {described(data)}"))
    nested = len(given.shape) > 1 and bool(data) and isinstance(data[0], list)
    if nested:
        width = given.shape[1]
        wrong = [
            Mistake(f"{place}/{row}", f"must be an array of {width} values")
            for row, values in enumerate(data)
            if not isinstance(values, list) or len(values) != width
        ]
        if wrong:
            raise WrongInput(*wrong)
        data = list(chain.from_iterable(data))
    if len(data) != count:
        detail = f"must have {count} values, as the shape says, and has {len(data)}"
        raise WrongInput(Mistake(place, detail))
    array, mistakes = kind.read(data)
    tensor = Tensor(index, given.name, tuple(given.shape), array, nested)
    if mistakes:
        raise WrongInput(*(Mistake(tensor.place(at), detail) for at, detail in mistakes))
    return tensor


def _from_binary(
    index: int, given: InputTensor, kind: Kind, count: int, data: memoryview
) -> Tensor:
    if given.data is not UNSET:
        raise WrongInput(_missized(index, "must not be there, as there is data"))
    place = pointer("inputs", index, "parameters", "binary_data_size")
    return Tensor(index, given.name, tuple(given.shape), from_binary(kind, count, data, place))


def _to_json(name: str, array: NDArray[Any]) -> list[Any]:
    """The elements; msgspec writes NaN as null."""
    if array.dtype.kind == "f" and np.isinf(array).any():
        raise Problem(
            PREDICTION_FAILED,
            f"{name} holds infinity, which JSON cannot: ask for it with binary_data",
        )
    values: list[Any] = array.ravel().tolist()
    if array.dtype.kind == "U" or datatype(array.dtype) != "BYTES":
        return values
    try:
        return [text.decode() for text in to_texts(array)]
    except UnicodeDecodeError:
        raise Problem(
            PREDICTION_FAILED,
            f"{name} holds bytes that are not UTF-8: ask for it with binary_data",
        ) from None
