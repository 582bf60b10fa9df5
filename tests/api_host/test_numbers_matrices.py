"""Many numbers are read as few are: each to the bit, and none that is no number."""

import json
from collections.abc import Callable, Sequence
from typing import TypeAlias

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from starlette.datastructures import Headers

from api_host.bounds import Bounds
from api_host.codecs import decode
from api_host.numbers.columns import WIDE
from api_host.numbers.matrices import FEW, LISTS_AT_ONCE
from api_host.problems import Problem
from api_host.schema import Signature, compile_signature
from api_host.table import Matrix
from api_host.v2 import tensors_json
from api_host.v2.columns import to_table

BOUNDS = Bounds()
ROWS = LISTS_AT_ONCE + 3
WIDTHS = (WIDE - 1, WIDE)

Tokens: TypeAlias = list[list[str]]
"""Rows of values as JSON writes them."""

NUMBERS = (
    *("0", "-0", "0.0", "-0.0", "-0e7", "1", "-1", "1e0", "1E+2", "1.5", "0.1", "4.35", "8.5e22"),
    *("5e-324", "-5e-324", "2e-324", "1e-400", "2.2250738585072011e-308"),
    *("1.7976931348623157e308", "3.4028235e38", "1e23", "7.2057594037927933e16"),
    *("0.30000000000000004", "0.1000000000000000055511151231257827021181583404541015625"),
    *("9007199254740993", "9007199254740993.0", "-9007199254740992", "16777217", "2147483648"),
    *("9223372036854775807", "9223372036854775808", "-9223372036854775809"),
    *("18446744073709551615", "18446744073709551616", "123456789012345678901234567890"),
    *("1" + "0" * 308, "0." + "0" * 400 + "1"),
)
ODD = (
    *("null", "nul", "true", "false", '"1"', '"NaN"', '""', "NaN", "Infinity", "-Infinity"),
    *("1e999", "-1e309", "1" + "0" * 309, "01", "+1", ".5", "5.", "1e", "0x1", "--1", "1_0"),
    *("[1]", "[[1]]", "[]", "{}", '{"a":1}', "1,1", "", "1 1", "1]", "1,", "/**/1"),
    *("\x00", "\ufeff1", "\ud800", "1\n", " 1 "),
)

drawn = st.floats(allow_nan=False, allow_infinity=False).map(repr) | st.sampled_from(NUMBERS)
places = st.tuples(st.integers(0, ROWS - 1), st.integers(0, WIDE - 1))


@st.composite
def tables(draw: st.DrawFn, *, odd: bool) -> Tokens:
    """More rows than are copied at once, of few values, with some changed."""
    width = draw(st.sampled_from(WIDTHS))
    some = draw(st.lists(drawn, min_size=1, max_size=20))
    tokens = [[some[(row * width + at) % len(some)] for at in range(width)] for row in range(ROWS)]
    if draw(st.booleans()):
        tokens = tokens[: draw(st.integers(1, ROWS))]
    changes = st.lists(st.tuples(places, st.sampled_from(ODD)), max_size=2)
    for (row, at), token in draw(changes) if odd else ():
        tokens[row % len(tokens)][at % width] = token
    if odd and draw(st.integers(0, 3)) == 0:
        tokens[draw(st.integers(0, len(tokens) - 1))].append("1")
    return tokens


def signature_of(width: int, kind: str, *, named: bool) -> Signature:
    spec = {"type": kind, "required": True}
    specs = [{**spec, "name": f"c{at}"} if named else spec for at in range(width)]
    signature = compile_signature(json.dumps(specs))
    assert signature is not None
    return signature


SIGNATURES = {
    (width, kind, named): signature_of(width, kind, named=named)
    for width in WIDTHS
    for kind in ("double", "float", "long")
    for named in (True, False)
}


def array(values: Sequence[str]) -> str:
    return f"[{','.join(values)}]"


def arrays(tokens: Tokens) -> bytes:
    return f'{{"rows":{array([array(row) for row in tokens])}}}'.encode(errors="surrogatepass")


def objects(tokens: Tokens) -> bytes:
    rows = ("{" + ",".join(f'"c{at}":{it}' for at, it in enumerate(row)) + "}" for row in tokens)
    return f'{{"rows":{array(list(rows))}}}'.encode(errors="surrogatepass")


def columns(tokens: Tokens) -> bytes:
    lists = (f'"c{at}":{array(each)}' for at, each in enumerate(turned(tokens)))
    return ('{"columns":{' + ",".join(lists) + "}}").encode(errors="surrogatepass")


def turned(tokens: Tokens) -> Tokens:
    width = max(map(len, tokens))
    return [[row[at] for row in tokens if at < len(row)] for at in range(width)]


def carefully(body: bytes, signature: Signature) -> Matrix | None:
    """As if there were no quick reader."""
    slow = Signature(signature.columns, signature.named, signature.is_tensor)
    slow.__dict__["reader"] = None
    try:
        natural = decode(body, "application/json", slow, bounds=BOUNDS).natural()
    except Problem:
        return None
    return np.asarray(natural, dtype=np.float64)


def assert_same(quick: Matrix, careful: Matrix | None) -> None:
    assert careful is not None
    assert quick.shape == careful.shape
    assert quick.dtype == np.float64
    assert quick.flags.c_contiguous
    assert quick.flags.writeable
    np.testing.assert_array_equal(quick, careful)
    np.testing.assert_array_equal(np.signbit(quick), np.signbit(careful))


@pytest.mark.parametrize("write", [arrays, objects, columns])
@given(tokens=tables(odd=True), kind=st.sampled_from(["double", "double", "float", "long"]))
def test_many_values_are_read_as_the_careful_reader_reads_each(
    write: Callable[[Tokens], bytes], tokens: Tokens, kind: str
) -> None:
    width = min(WIDE, *map(len, tokens))
    signature = SIGNATURES[width, kind, write is not arrays]
    assert signature.reader is not None
    quick = signature.reader.read(write(tokens))
    if quick is not None:
        assert_same(quick, carefully(write(tokens), signature))


@pytest.mark.parametrize("write", [arrays, objects, columns])
@given(tokens=tables(odd=False))
def test_any_number_is_read_at_once(write: Callable[[Tokens], bytes], tokens: Tokens) -> None:
    signature = SIGNATURES[len(tokens[0]), "double", write is not arrays]
    assert signature.reader is not None
    quick = signature.reader.read(write(tokens))
    assert quick is not None
    assert_same(quick, np.array([[float(json.loads(token)) for token in row] for row in tokens]))
    assert_same(quick, carefully(write(tokens), signature))


@given(tokens=tables(odd=False))
def test_every_protocol_reads_the_same(tokens: Tokens) -> None:
    width = len(tokens[0])
    signature = SIGNATURES[width, "double", True]
    assert signature.reader is not None
    assert signature.forms is not None
    assert signature.tensors is not None
    expected = signature.reader.read(objects(tokens))
    assert expected is not None
    data = array([array(row) for row in tokens])
    names = json.dumps([f"c{at}" for at in range(width)])
    split = f'{{"dataframe_split":{{"columns":{names},"data":{data}}}}}'
    records = objects(tokens).replace(b"rows", b"dataframe_records", 1)
    lists = columns(tokens).replace(b"columns", b"inputs", 1)
    for body in (split.encode(), records, lists):
        found = signature.forms.read(body)
        assert found is not None
        assert_same(found, expected)
    flat = array([array([token for row in tokens for token in row])])[1:-1]
    one = {"name": "x", "shape": [len(tokens), width], "datatype": "FP64"}
    many = [{"name": f"c{at}", "shape": [len(tokens)], "datatype": "FP64"} for at in range(width)]
    for heads, values in (([one], [flat]), (many, [array(each) for each in turned(tokens)])):
        inputs = (
            json.dumps(head)[:-1] + f',"data":{each}}}'
            for head, each in zip(heads, values, strict=True)
        )
        body = f'{{"inputs":{array(list(inputs))}}}'.encode()
        tensors = signature.tensors.read(body)
        assert tensors is not None
        assert_same(tensors[0], expected)
        question = tensors_json.decode(body, Headers(), bounds=BOUNDS)
        careful = to_table(question.inputs, signature, BOUNDS).natural()
        assert_same(tensors[0], np.asarray(careful, dtype=np.float64))


@pytest.mark.parametrize("count", [FEW // WIDE, FEW // WIDE + 1, LISTS_AT_ONCE + 1, 70_000])
@pytest.mark.parametrize("missing", [None, 0, -1])
def test_a_value_may_be_missing_wherever_it_is(count: int, missing: int | None) -> None:
    rows: list[list[float | None]] = [[row + at / 10 for at in range(WIDE)] for row in range(count)]
    if missing is not None:
        rows[missing][missing] = None
    signature = SIGNATURES[WIDE, "double", False]
    assert signature.reader is not None
    found = signature.reader.read(json.dumps({"rows": rows}).encode())
    assert found is not None
    assert_same(found, np.array(rows, dtype=np.float64))


def test_whole_numbers_of_nine_bytes_are_not_taken_for_floats() -> None:
    kinds = ["double"] * WIDE + ["long"] * WIDE
    specs = [{"type": kind, "name": f"c{at}", "required": True} for at, kind in enumerate(kinds)]
    signature = compile_signature(json.dumps(specs))
    assert signature is not None
    assert signature.reader is not None
    tokens = [["1.5"] * WIDE + [str(2**40 + row)] * WIDE for row in range(ROWS)]
    found = signature.reader.read(objects(tokens))
    assert found is not None
    assert_same(found, np.array([[float(json.loads(token)) for token in row] for row in tokens]))
