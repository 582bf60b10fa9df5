"""The tensors of v2: what went in comes back, and nothing that is not right gets through."""

import json
import struct
import tracemalloc
from typing import Any

import msgspec
import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays
from numpy.typing import NDArray
from starlette.datastructures import Headers

from api_host.bounds import Bounds
from api_host.kinds import DATATYPES, KINDS
from api_host.problems import MOST_ERRORS, Problem
from api_host.v2.tensors import Question
from api_host.v2.tensors_json import JSON_LENGTH, decode, encode

MOST_ROWS = 1000
NUMERIC = [name for name, kind in DATATYPES.items() if not kind.dtype.hasobject]

shapes = st.one_of(st.tuples(st.integers(1, 5)), st.tuples(st.integers(1, 5), st.integers(0, 4)))
texts = st.text(st.characters(codec="utf-8"), max_size=10)


def read(
    document: Any, binary: bytes = b"", *, length: str | None = None, most_rows: int = MOST_ROWS
) -> Question:
    text = document if isinstance(document, bytes) else json.dumps(document).encode()
    headers = {JSON_LENGTH: length or str(len(text))} if binary or length else {}
    return decode(text + binary, Headers(headers), bounds=Bounds(rows=most_rows))


def request_of(*tensors: dict[str, Any], **members: Any) -> dict[str, Any]:
    return {"inputs": list(tensors), **members}


def tensor_of(datatype: str, shape: Any, **members: Any) -> dict[str, Any]:
    return {"name": "x", "datatype": datatype, "shape": shape, **members}


def refusal(document: Any, binary: bytes = b"", **options: Any) -> Problem:
    with pytest.raises(Problem) as refused:
        read(document, binary, **options)
    assert 400 <= refused.value.kind.status < 500
    return refused.value


def place_of(document: Any, binary: bytes = b"") -> str:
    problem = refusal(document, binary)
    assert problem.kind.status == 422
    (mistake,) = problem.mistakes
    return mistake.pointer


def numbers_of(datatype: str) -> st.SearchStrategy[NDArray[Any]]:
    return arrays.arrays(DATATYPES[datatype].dtype, shapes)


def answer_of(array: NDArray[Any], *, binary: bool) -> tuple[dict[str, Any], bytes]:
    response = encode({"y": array}, Question("7", (), (), binary), "m", "1")
    body = bytes(response.body)
    length = int(response.headers.get(JSON_LENGTH, len(body)))
    return msgspec.json.decode(body[:length]), body[length:]


@pytest.mark.parametrize("datatype", NUMERIC)
@given(data=st.data())
def test_numbers_come_back_from_json(datatype: str, data: st.DataObject) -> None:
    array = data.draw(numbers_of(datatype))
    assume(array.dtype.kind != "f" or not np.isinf(array).any())
    answer, rest = answer_of(array, binary=False)
    (output,) = answer["outputs"]
    assert (output["datatype"], tuple(output["shape"]), rest) == (datatype, array.shape, b"")
    (flat,) = read(request_of(output)).inputs
    nested = array.astype(object)
    nested[array != array] = None  # noqa: PLR0124 - which is what NaN is
    (also,) = read(request_of({**output, "data": nested.tolist()})).inputs
    for tensor in (flat, also):
        assert tensor.array.dtype == array.dtype
        np.testing.assert_array_equal(tensor.array.reshape(tensor.shape), array)


@pytest.mark.parametrize("datatype", NUMERIC)
@given(data=st.data())
def test_numbers_come_back_from_binary_data(datatype: str, data: st.DataObject) -> None:
    array = data.draw(numbers_of(datatype))
    answer, rest = answer_of(array, binary=True)
    (output,) = answer["outputs"]
    assert output["parameters"] == {"binary_data_size": len(rest)}
    assert rest == array.tobytes()
    (tensor,) = read(
        request_of(output), rest, length=str(len(json.dumps(request_of(output))))
    ).inputs
    np.testing.assert_array_equal(tensor.array.reshape(tensor.shape), array)


@given(st.lists(texts, min_size=1), st.booleans())
def test_texts_come_back(values: list[str], binary: bool) -> None:
    answer, rest = answer_of(np.array(values, dtype=object), binary=binary)
    (output,) = answer["outputs"]
    assert output["datatype"] == "BYTES"
    (tensor,) = read(request_of(output), rest).inputs
    assert [v.decode() if binary else v for v in tensor.array] == values


@given(st.lists(texts, min_size=1), st.booleans())
def test_labels_of_one_type_are_answered_as_others_are(labels: list[str], binary: bool) -> None:
    array = np.array(labels)  # Which ends none in NUL.
    alike = array.astype(object)
    assert answer_of(array, binary=binary) == answer_of(alike, binary=binary)
    assert answer_of(array.reshape(-1, 1), binary=False)[0]["outputs"][0]["data"] == alike.tolist()


@given(st.lists(st.binary(max_size=10), min_size=1))
def test_bytes_come_back_from_binary_data(values: list[bytes]) -> None:
    answer, rest = answer_of(np.array(values, dtype=object), binary=True)
    assert read(request_of(*answer["outputs"]), rest).inputs[0].array.tolist() == values


def test_several_tensors_share_the_binary_data_in_their_order() -> None:
    first, third = np.array([1, 2], np.int16), np.array([[True], [False]])
    question = read(
        request_of(
            {**tensor_of("INT16", [2], parameters={"binary_data_size": 4}), "name": "first"},
            {**tensor_of("FP64", [2], data=[5, 6.5]), "name": "second"},
            {**tensor_of("BOOL", [2, 1], parameters={"binary_data_size": 2}), "name": "third"},
        ),
        first.tobytes() + third.tobytes(),
    )
    found = [tensor.array.tolist() for tensor in question.inputs]
    assert found == [[1, 2], [5.0, 6.5], [True, False]]


def test_nan_and_infinity_are_read_as_clients_of_triton_write_them() -> None:
    body = (
        b'{"inputs": [{"name": "x", "datatype": "FP32", "shape": [4],'
        b' "data": [NaN, null, Infinity, -Infinity]}]}'
    )
    found = read(body).inputs[0].array
    np.testing.assert_array_equal(found, np.array([np.nan, np.nan, np.inf, -np.inf], np.float32))
    assert refusal(body.replace(b'"x"', b'"\\ud800"')).kind.status == 400
    assert refusal(body.replace(b"[4]", b'"NaN"')).kind.status == 422


def test_what_json_cannot_hold_is_not_answered_as_something_else() -> None:
    assert answer_of(np.array([np.nan]), binary=False)[0]["outputs"][0]["data"] == [None]
    for array in (np.array([-np.inf]), np.array([b"\xff"])):
        with pytest.raises(Problem, match="binary_data"):
            answer_of(array, binary=False)
        answer_of(array, binary=True)


def test_the_caller_chooses_outputs() -> None:
    outputs = {"a": np.array([1]), "b": np.array([2.5])}

    def ask(*wanted: Any, **parameters: Any) -> list[tuple[str, bool]]:
        tensor = tensor_of("BOOL", [1], data=[True])
        question = read(request_of(tensor, outputs=list(wanted), parameters=parameters))
        response = encode(outputs, question, "m", "1")
        body = bytes(response.body)[: int(response.headers.get(JSON_LENGTH, 10_000))]
        answer = msgspec.json.decode(body)
        return [(output["name"], "data" not in output) for output in answer["outputs"]]

    as_binary, as_json = {"binary_data": True}, {"binary_data": False}
    assert ask() == [("a", False), ("b", False)]
    assert ask(binary_data_output=True) == [("a", True), ("b", True)]
    assert ask({"name": "b"}, {"name": "a", "parameters": as_binary}) == [("b", False), ("a", True)]
    assert ask({"name": "b", "parameters": as_json}, binary_data_output=True) == [("b", False)]
    with pytest.raises(Problem) as refused:
        ask({"name": "a"}, {"name": "c"})
    assert refused.value.mistakes[0].pointer == "/outputs/1/name"


@pytest.mark.parametrize(
    ("tensor", "place"),
    [
        (tensor_of("INT8", [2], data=[1, 128]), "/inputs/0/data/1"),
        (tensor_of("UINT64", [1], data=[-1]), "/inputs/0/data/0"),
        (tensor_of("INT64", [1, 2], data=[[1, 0.5]]), "/inputs/0/data/0/1"),
        (tensor_of("FP32", [2, 2], data=[1, 2, "3", 4]), "/inputs/0/data/2"),
        (tensor_of("FP16", [1], data=[65536]), "/inputs/0/data/0"),
        (tensor_of("FP64", [1], data=[10**400]), "/inputs/0/data/0"),
        (tensor_of("BOOL", [1], data=[1]), "/inputs/0/data/0"),
        (tensor_of("BYTES", [1], data=[1]), "/inputs/0/data/0"),
        (tensor_of("FP64", [1], data=[[1]]), "/inputs/0/data/0"),
        (tensor_of("FP64", [2, 1], data=[[1], [2, 3]]), "/inputs/0/data/1"),
        (tensor_of("FP64", [2, 1], data=[[1], 2]), "/inputs/0/data/1"),
        (tensor_of("FP64", [2], data=[1]), "/inputs/0/data"),
        (tensor_of("FP64", [1], data=1), "/inputs/0/data"),
        (tensor_of("FP64", [1]), "/inputs/0/data"),
        (tensor_of("FP64", [0], data=[]), "/inputs/0/shape"),
        (tensor_of("FP64", [], data=[]), "/inputs/0/shape"),
        (tensor_of("FP64", [1, 1, 1], data=[1]), "/inputs/0/shape"),
        (tensor_of("FP64", [-1], data=[1]), "/inputs/0/shape"),
        (tensor_of("FP64", [1, 2**64], data=[1]), "/inputs/0/shape"),
        (tensor_of("FP64", [1, 2**63], data=[1]), "/inputs/0/data"),
        (tensor_of("FP64", [1, "1"], data=[1]), "/inputs/0/shape/1"),
        (tensor_of("FP99", [1], data=[1]), "/inputs/0/datatype"),
        ({"name": "x", "shape": [1]}, "/inputs/0"),
        (
            tensor_of("FP64", [1], data=[1], parameters={"shared_memory_region": "r"}),
            "/inputs/0/parameters/shared_memory_region",
        ),
        (
            tensor_of("FP64", [1], parameters={"binary_data_size": "8"}),
            "/inputs/0/parameters/binary_data_size",
        ),
    ],
)
def test_what_is_wrong_is_named_with_its_place(tensor: dict[str, Any], place: str) -> None:
    assert place_of(request_of(tensor)) == place


def test_every_input_that_is_wrong_is_named_at_once() -> None:
    wrong = [
        tensor_of("FP64", [1], data=["x"]),
        tensor_of("?", [1]),
        tensor_of("INT8", [1], data=[1]),
    ]
    problem = refusal(request_of(*wrong, parameters={"binary_data_output": 1}))
    assert [mistake.pointer for mistake in problem.mistakes] == [
        "/parameters/binary_data_output",
        "/inputs/0/data/0",
        "/inputs/1/datatype",
    ]


@pytest.mark.parametrize(
    ("datatype", "count", "binary"),
    [
        ("FP64", 1, b"\0" * 7),
        ("FP64", 1, b"\0" * 9),
        ("FP64", 2**62, b"\0" * 8),
        ("BOOL", 2, b"\0\2"),
        ("BYTES", 1, b"\0\0\0"),
        ("BYTES", 1, b"\1\0\0\0"),
        ("BYTES", 1, b"\xff\xff\xff\xff"),
        ("BYTES", 1, b"\0\0\0\0\0"),
        ("BYTES", 2**62, b"\0\0\0\0"),
    ],
)
def test_binary_data_of_a_wrong_length(datatype: str, count: int, binary: bytes) -> None:
    tensor = tensor_of(datatype, [1, count], parameters={"binary_data_size": len(binary)})
    assert place_of(request_of(tensor), binary) == "/inputs/0/parameters/binary_data_size"


def test_sizes_that_do_not_answer_the_body() -> None:
    tensor = tensor_of("INT8", [1], parameters={"binary_data_size": 1})
    assert place_of(request_of(tensor)) == "/inputs/0/parameters/binary_data_size"
    assert place_of(request_of(tensor), b"12") == ""
    tensor["data"] = [1]
    assert place_of(request_of(tensor), b"1") == "/inputs/0/parameters/binary_data_size"
    for length in ("-1", "x", "²", "1" * 30, "99999"):
        problem = refusal(request_of(tensor), b"1", length=length)
        assert (problem.kind.name, problem.kind.status) == ("invalid-header", 400)


def test_what_is_no_request() -> None:
    for body in (
        b"",
        b"{",
        b"\xff",
        b'{"inputs": [{"name": "\xff"',
        b'{"inputs": []} x',
        b"NaN"[:2],
    ):
        assert refusal(body).kind.name == "invalid-body"
    documents: list[Any] = [[], 1, {}, {"inputs": {}}, {"inputs": [1]}, {"inputs": []}]
    for document in [*documents, request_of(id=1)]:
        assert refusal(document).kind.name == "invalid-input"
    with pytest.raises(Problem, match="gzip"):
        decode(b"{}", Headers({"Content-Encoding": "gzip"}), bounds=Bounds(rows=1))


def test_more_rows_than_are_taken_are_refused_before_they_are_read() -> None:
    tensor = tensor_of("FP64", [MOST_ROWS + 1], data=[])
    assert refusal(request_of(tensor)).kind.name == "too-many-rows"


@given(st.binary(max_size=200))
def test_garbage_is_refused(body: bytes) -> None:
    refusal(body)


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | texts,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(texts, inner, max_size=3),
    max_leaves=10,
)
odd_tensors = st.fixed_dictionaries(
    {},
    optional={
        "name": texts | json_values,
        "shape": st.lists(st.integers(-2, 5), max_size=3) | st.lists(st.integers()) | json_values,
        "datatype": st.sampled_from([*DATATYPES, "FP8"]) | json_values,
        "data": st.lists(json_values, max_size=5) | json_values,
        "parameters": st.fixed_dictionaries(
            {}, optional={"binary_data_size": st.integers(-1, 40) | json_values}
        )
        | json_values,
    },
)


@given(
    st.lists(odd_tensors | json_values, max_size=3),
    st.fixed_dictionaries({}, optional=dict.fromkeys(["id", "parameters", "outputs"], json_values)),
    st.binary(max_size=40),
    st.booleans(),
)
def test_any_request_is_read_or_refused(
    tensors: list[Any], members: dict[str, Any], binary: bytes, truncated: bool
) -> None:
    text = json.dumps(request_of(*tensors, **members)).encode()
    body = text + binary
    headers = Headers({JSON_LENGTH: str(len(text))} if binary else {})
    found = outcome(body[: len(body) // 2] if truncated else body, headers)
    if isinstance(found, Problem):
        assert 400 <= found.response("id", "/v2/models/m/infer").status_code < 500
    else:
        for tensor in found.inputs:
            assert tensor.array.reshape(tensor.shape).dtype == tensor.array.dtype


def outcome(body: bytes, headers: Headers) -> Question | Problem:
    try:
        return decode(body, headers, bounds=Bounds(rows=3))
    except Problem as problem:
        return problem


@given(st.data())
def test_a_truncated_body_is_refused(data: st.DataObject) -> None:
    values = data.draw(st.lists(st.binary(max_size=10), min_size=1, max_size=3))
    answer, rest = answer_of(np.array(values, dtype=object), binary=True)
    text = json.dumps(request_of(*answer["outputs"])).encode()
    body = (text + rest)[: data.draw(st.integers(0, len(text) + len(rest) - 1))]
    with pytest.raises(Problem):
        decode(body, Headers({JSON_LENGTH: str(len(text))}), bounds=Bounds(rows=MOST_ROWS))


@pytest.mark.parametrize(
    "body",
    [
        b'{"inputs":' + b"[" * 500_000,
        b'{"x":' + b'{"a":' * 100_000,
        b'{"inputs":[{"name":"x","datatype":"FP64","shape":[1],"data":' + b"[" * 500_000,
        b'{"inputs":[NaN' + b"[" * 500_000,
        b'{"inputs":[{"name":"x","datatype":"FP64","shape":[1],"data":[' + b"1" * 500_000 + b"]}]}",
        b'{"inputs":[{"name":"x","datatype":"FP64","shape":[' + b"9" * 4000 + b'],"data":[]}]}',
        b'{"inputs":[{"name":"x","datatype":"FP64","shape":[1],"data":['
        + b"[]," * 300_000
        + b"1]}]}",
        b'{"inputs":[{"name":"x","datatype":"FP64","shape":[1,300001],"data":['
        + b'"",' * 300_000
        + b'""]}]}',
        b'{"inputs":[{"name":"x","datatype":"FP64","shape":[1000,9223372036854775807]}]}',
        b'{"inputs":[' + b"{}," * 300_000 + b"{}]}",
    ],
    ids=range(10),
)
def test_hostile_bodies_are_refused_in_little_memory(body: bytes) -> None:
    tracemalloc.start()
    try:
        problem = refusal(body)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak < 1_000_000 + 40 * len(body)
    assert len(problem.mistakes) <= MOST_ERRORS


def test_binary_data_is_not_copied() -> None:
    tensor = tensor_of("FP64", [1000, 1000], parameters={"binary_data_size": 8_000_000})
    text = json.dumps(request_of(tensor)).encode()
    body = text + bytes(8_000_000)
    tracemalloc.start()
    try:
        decode(body, Headers({JSON_LENGTH: str(len(text))}), bounds=Bounds(rows=MOST_ROWS))
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak < 100_000


numeric_kinds = [kind for kind in KINDS.values() if kind.dtype.kind in "bif"]


@pytest.mark.parametrize("kind", numeric_kinds, ids=lambda kind: kind.name)
@pytest.mark.parametrize("datatype", NUMERIC)
@given(data=st.data())
def test_an_array_is_checked_as_its_values_are(
    kind: Any, datatype: str, data: st.DataObject
) -> None:
    array = data.draw(arrays.arrays(DATATYPES[datatype].dtype, st.integers(1, 4)))
    found, wrong = kind.read(array)
    expected, as_wrong = kind.read(array.tolist())
    assert [index for index, _ in wrong] == [index for index, _ in as_wrong]
    if not wrong:
        assert found.dtype == expected.dtype
        np.testing.assert_array_equal(found, expected)


def test_a_length_is_little_endian() -> None:
    _, rest = answer_of(np.array(["é"]), binary=True)
    assert rest == struct.pack("<I", 2) + "é".encode()
