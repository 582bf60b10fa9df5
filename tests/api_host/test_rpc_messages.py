"""The tensors of v2 in messages: what went in comes back, and nothing wrong gets through."""

import struct
from typing import Any

import numpy as np
import pytest
from google.protobuf.message import DecodeError
from grpc import StatusCode
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays
from numpy.typing import NDArray

from api_host.bounds import Bounds
from api_host.kinds import DATATYPES
from api_host.problems import Problem
from api_host.rpc.messages import decode, encode
from api_host.rpc.open_inference_pb2 import InferParameter, InferTensorContents, ModelInferRequest
from api_host.rpc.statuses import code
from api_host.v2.tensors import Question

MOST_ROWS = 1000
NUMERIC = [name for name, kind in DATATYPES.items() if not kind.dtype.hasobject]

shapes = st.one_of(st.tuples(st.integers(1, 5)), st.tuples(st.integers(1, 5), st.integers(0, 4)))


def input_of(datatype: str, shape: Any, **members: Any) -> ModelInferRequest.InferInputTensor:
    return ModelInferRequest.InferInputTensor(name="x", datatype=datatype, shape=shape, **members)


def refusal(request: ModelInferRequest) -> Problem:
    with pytest.raises(Problem) as refused:
        decode(request, bounds=Bounds(rows=MOST_ROWS))
    assert code(refused.value.kind) is StatusCode.INVALID_ARGUMENT
    return refused.value


def place_of(*inputs: ModelInferRequest.InferInputTensor, **members: Any) -> str:
    (mistake,) = refusal(ModelInferRequest(inputs=inputs, **members)).mistakes
    return mistake.pointer


def there_and_back(array: NDArray[Any], *, binary: bool) -> NDArray[Any]:
    """An answer, read as the question that holds the same."""
    answer = encode({"x": array}, Question("7", (), (), binary), "m", "1")
    assert (answer.model_name, answer.model_version, answer.id) == ("m", "1", "7")
    (output,) = answer.outputs
    assert tuple(output.shape) == array.shape
    request = ModelInferRequest(raw_input_contents=answer.raw_output_contents)
    request.inputs.add().ParseFromString(output.SerializeToString())
    (tensor,) = decode(request, bounds=Bounds(rows=MOST_ROWS)).inputs
    return tensor.array.reshape(array.shape)


@pytest.mark.parametrize("datatype", NUMERIC)
@given(data=st.data(), binary=st.booleans())
def test_numbers_come_back(datatype: str, data: st.DataObject, *, binary: bool) -> None:
    array = data.draw(arrays.arrays(DATATYPES[datatype].dtype, shapes))
    found = there_and_back(array, binary=binary)
    assert found.dtype == array.dtype
    assert np.array_equal(found, array, equal_nan=array.dtype.kind == "f")


@given(values=st.lists(st.binary(max_size=10), min_size=1, max_size=5), binary=st.booleans())
def test_bytes_come_back(values: list[bytes], *, binary: bool) -> None:
    array = np.array(values, dtype=object)
    assert there_and_back(array, binary=binary).tolist() == values


def test_a_half_is_binary_data_and_so_is_all_beside_it() -> None:
    outputs: dict[str, NDArray[Any]] = {
        "half": np.array([1.5], np.float16),
        "one": np.array([1], np.int8),
    }
    answer = encode(outputs, Question(None, (), (), binary=False), "m", "1")
    assert list(answer.raw_output_contents) == [b"\x00\x3e", b"\1"]
    contents = InferTensorContents(fp32_contents=[1.5])
    assert place_of(input_of("FP16", [1], contents=contents)) == "/inputs/0/contents"


def test_values_are_in_the_field_of_their_type_and_no_other() -> None:
    contents = InferTensorContents(fp32_contents=[1])
    assert place_of(input_of("FP64", [1], contents=contents)) == "/inputs/0/contents/fp32_contents"
    contents = InferTensorContents(int_contents=[1, 128, 2, -129])
    places = [
        each.pointer
        for each in refusal(
            ModelInferRequest(inputs=[input_of("INT8", [4], contents=contents)])
        ).mistakes
    ]
    assert places == ["/inputs/0/contents/1", "/inputs/0/contents/3"]


@pytest.mark.parametrize(
    ("datatype", "shape", "data"),
    [
        ("FP64", [2], bytes(15)),
        ("FP64", [2], bytes(17)),
        ("FP64", [2], b""),
        ("BOOL", [2], b"\0\2"),
        ("BYTES", [2], struct.pack("<I", 1) + b"a"),
        ("BYTES", [1], struct.pack("<I", 9) + b"a"),
        ("BYTES", [1], struct.pack("<I", 1) + b"ab"),
        ("BYTES", [1], b"\0\0"),
        ("BYTES", [1, 2**40], b""),
    ],
)
def test_binary_data_of_another_length_are_refused(
    datatype: str, shape: list[int], data: bytes
) -> None:
    place = place_of(input_of(datatype, shape), raw_input_contents=[data])
    assert place == "/raw_input_contents/0"


def test_what_would_change_the_answer_is_refused() -> None:
    contents = InferTensorContents(int64_contents=[1])
    given = input_of("INT64", [1], contents=contents)
    given.parameters["shared_memory_region"].string_param = "r"
    place = "/inputs/0/parameters/shared_memory_region"
    assert place_of(given) == place
    output = ModelInferRequest.InferRequestedOutputTensor(name="x")
    output.parameters["classification"].int64_param = 3
    right = input_of("INT64", [1], contents=contents)
    assert place_of(right, outputs=[output]) == "/outputs/0/parameters/classification"


parameters = st.dictionaries(
    st.sampled_from(["classification", "shared_memory_region", "binary_data_size", "other"]),
    st.builds(InferParameter, int64_param=st.integers(-(2**63), 2**63 - 1)),
    max_size=1,
)
contents = st.builds(
    InferTensorContents,
    bool_contents=st.lists(st.booleans(), max_size=2),
    int_contents=st.lists(st.integers(-(2**31), 2**31 - 1), max_size=4),
    uint64_contents=st.lists(st.integers(0, 2**64 - 1), max_size=1),
    fp64_contents=st.lists(st.floats(), max_size=4),
    bytes_contents=st.lists(st.binary(max_size=4), max_size=2),
)
requests = st.builds(
    ModelInferRequest,
    inputs=st.lists(
        st.builds(
            ModelInferRequest.InferInputTensor,
            name=st.sampled_from(["", "x"]),
            datatype=st.sampled_from([*DATATYPES, "", "fp64"]),
            shape=st.lists(st.integers(-1, 4) | st.integers(-(2**63), 2**63 - 1), max_size=3),
            parameters=parameters,
            contents=st.just(InferTensorContents()) | contents,
        ),
        max_size=3,
    ),
    raw_input_contents=st.lists(st.binary(max_size=40), max_size=3),
)


def read_or_refused(request: ModelInferRequest) -> Question | Problem:
    try:
        return decode(request, bounds=Bounds(rows=MOST_ROWS))
    except Problem as problem:
        return problem


def assert_right_or_refused(request: ModelInferRequest) -> None:
    found = read_or_refused(request)
    if isinstance(found, Problem):
        assert code(found.kind) is StatusCode.INVALID_ARGUMENT
        assert found.detail
    else:
        for tensor in found.inputs:
            assert len(tensor.array) == np.prod(tensor.shape)


@given(requests)
def test_any_request_is_read_or_refused(request: ModelInferRequest) -> None:
    assert_right_or_refused(request)


@given(requests, st.integers(0), st.binary(max_size=3))
def test_a_message_cut_off_or_garbled_is_no_message_or_read_or_refused(
    request: ModelInferRequest, place: int, garbage: bytes
) -> None:
    whole = request.SerializeToString()
    place %= len(whole) + 1
    for text in (whole[:place], whole[:place] + garbage + whole[place + len(garbage) :]):
        try:
            garbled = ModelInferRequest.FromString(text)
        except DecodeError:
            continue
        assert_right_or_refused(garbled)
