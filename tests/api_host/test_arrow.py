"""Arrow IPC streams, read and written without trust."""

import asyncio
import random
from collections.abc import AsyncIterator
from contextlib import suppress
from typing import Any

import nanoarrow as na
import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from api_host.arrow.reader import BatchReader
from api_host.arrow.writer import BatchWriter
from api_host.bounds import Bounds
from api_host.kinds import KINDS, Column
from api_host.problems import INVALID_INPUT, Problem
from api_host.schema import Signature
from api_host.streams.feed import Feed
from api_host.streams.form import CHUNK_ROWS, Limits, Predicted, Refused
from tests.api_host.arrow_streams import column, damaged, read, written

LIMITS = Limits(bytes=100_000, seconds=10.0, bounds=Bounds(rows=5_000))
EVERY_KIND = Signature(
    tuple(
        Column(kind, KINDS[kind], required)
        for kind, required in {
            "double": False,
            "long": True,
            "float": True,
            "boolean": True,
            "string": True,
            "binary": True,
            "datetime": True,
        }.items()
    ),
    named=True,
    is_tensor=False,
)
GOOD = {
    "double": column([1.5, None]),
    "long": column([1, 2], "int16"),
    "float": column([0.5, 2.0], "float32"),
    "boolean": column([True, False], "bool_"),
    "string": column(["Zürich", None], "string"),
    "binary": column([b"\0", b""], "large_binary"),
    "datetime": column(["2026-01-01", None], "string"),
}


async def pieces(stream: bytes, size: int) -> AsyncIterator[bytes]:
    for start in range(0, len(stream), size):
        yield stream[start : start + size]


def frames(
    stream: bytes, signature: Signature | None = EVERY_KIND, size: int = 10_000
) -> list[pd.DataFrame]:
    """What is read from a stream that arrives in pieces of `size`: a table a chunk."""

    async def chunks() -> list[pd.DataFrame]:
        async with Feed(pieces(stream, size)) as feed:
            reader = BatchReader(feed, signature, LIMITS)
            return [chunk.table(0, len(chunk)).natural() async for chunk in reader.chunks()]

    return asyncio.run(chunks())


@pytest.mark.parametrize("size", [1, 7, 10_000])
def test_every_kind_of_column_is_read_however_it_arrives(size: int) -> None:
    table, again = frames(written(GOOD, GOOD), size=size)
    assert table.equals(again)
    assert table["double"][0] == 1.5
    assert np.isnan(table["double"][1])
    assert table["long"].tolist() == [1, 2]
    assert table["float"].dtype == np.float32
    assert table["boolean"].tolist() == [True, False]
    assert table["string"][0] == "Zürich"
    assert pd.isna(table["string"][1])
    assert table["binary"].tolist() == [b"\0", b""]
    assert table["datetime"][0] == pd.Timestamp("2026-01-01")
    assert pd.isna(table["datetime"][1])


@pytest.mark.parametrize(
    ("counts", "type_"),
    [
        ([1, None], na.date32()),
        ([86_400_000, None], na.date64()),
        ([86_400, None], na.timestamp("s")),
        ([86_400_000_000, None], na.timestamp("us", "Europe/Zurich")),
        ([86_400_000_000_000, None], na.timestamp("ns")),
    ],
)
def test_moments_of_every_unit_are_read(counts: list[int | None], type_: Any) -> None:
    whole = na.c_array(counts, na.int32() if type_ == na.date32() else na.int64())
    buffers = [whole.view().buffer(0), whole.view().buffer(1)]
    moments = na.c_array_from_buffers(type_, 2, buffers, null_count=1)
    (table,) = frames(written({**GOOD, "datetime": moments}))
    assert table["datetime"][0] == pd.Timestamp("1970-01-02")
    assert pd.isna(table["datetime"][1])


def test_a_moment_that_nanoseconds_cannot_count_is_refused() -> None:
    moments = na.c_array_from_buffers(
        na.timestamp("s"), 1, [None, np.array([2**62], np.int64)], null_count=0
    )
    signature = Signature((Column("at", KINDS["datetime"]),), named=True, is_tensor=False)
    with pytest.raises(Problem, match="between the years 1678 and 2262"):
        frames(written({"at": moments}), signature)


def test_without_a_signature_the_columns_are_the_table() -> None:
    (table,) = frames(written({"b": column([1.0]), "a": column(["x"], "string")}), None)
    assert table.to_dict("list") == {"b": [1.0], "a": ["x"]}


def test_a_large_batch_is_several_chunks() -> None:
    rows = 2 * CHUNK_ROWS + 3
    signature = Signature((Column("a", KINDS["long"]),), named=True, is_tensor=False)
    tables = frames(written({"a": column(range(rows), "int32")}), signature)
    assert [len(table) for table in tables] == [CHUNK_ROWS, CHUNK_ROWS, 3]
    assert pd.concat(tables)["a"].tolist() == list(range(rows))


@pytest.mark.parametrize(
    ("changes", "pointers"),
    [
        ({"double": column(["1"] * 2, "string")}, ["/double"]),
        ({"string": column([1, 2], "int8")}, ["/string"]),
        ({"boolean": column([0, 1], "int8")}, ["/boolean"]),
        ({"binary": column(["x", "y"], "string")}, ["/binary"]),
        ({"other": column([1, 2])}, ["/other"]),
        ({"long": None}, ["/long"]),
    ],
)
def test_a_schema_that_does_not_answer_the_signature(
    changes: dict[str, Any], pointers: list[str]
) -> None:
    columns = {name: values for name, values in (GOOD | changes).items() if values is not None}
    with pytest.raises(Problem) as raised:
        frames(written(columns))
    assert raised.value.kind is INVALID_INPUT
    assert [mistake.pointer for mistake in raised.value.mistakes] == pointers


def test_a_column_that_may_be_missing_is_null() -> None:
    columns = {name: values for name, values in GOOD.items() if name != "double"}
    (table,) = frames(written(columns))
    assert table["double"].isna().all()


def test_columns_without_names_are_taken_in_order() -> None:
    signature = Signature(
        (Column(0, KINDS["double"]), Column(1, KINDS["double"])), named=False, is_tensor=True
    )
    stream = written({"x": column([1.0, 2.0]), "y": column([3.0, 4.0])})
    ((first, second),) = frames(stream, signature)
    assert (first.tolist(), second.tolist()) == ([1.0, 3.0], [2.0, 4.0])
    with pytest.raises(Problem, match="must have 2 columns, and has 1"):
        frames(written({"x": column([1.0])}), signature)


@pytest.mark.parametrize(
    ("stream", "sentence"),
    [
        (b"", "does not begin with a schema"),
        (b'{"rows": []}', "a message does not begin as one"),
        (written(GOOD)[:-20], "ends in the middle of a message"),
        (written(GOOD) + b"x", "something follows its end"),
        (written(GOOD)[:-8] + written(GOOD), "has two schemas"),
        (b"\xff\xff\xff\xff\xff\xff\xff\x7f", "a message may have 100000 bytes"),
    ],
)
def test_what_is_no_stream(stream: bytes, sentence: str) -> None:
    with pytest.raises(Problem, match=sentence):
        frames(stream)


def test_a_batch_of_too_many_rows() -> None:
    rows = LIMITS.bounds.rows + 1
    with pytest.raises(Problem, match="has 5001 rows, and may have 5000"):
        frames(written({"a": column([True] * rows, "bool_")}), None)


@given(seed=st.integers())
def test_a_damaged_stream_is_a_problem_and_nothing_worse(seed: int) -> None:
    stream = damaged(written(GOOD, GOOD), random.Random(seed))
    for signature in (EVERY_KIND, None):
        with suppress(Problem):  # Any other error fails the test.
            frames(stream, signature)


@pytest.mark.parametrize(
    "values",
    [
        np.array([1.5, -2.0]),
        np.array([1, 2], np.uint8),
        np.array([True, False]),
        np.array(["setosa", "ü"]),
        np.array(["setosa", None], object),
        np.array([[0.25, 0.75], [1.0, 0.0]], np.float32),
    ],
)
def test_predictions_of_every_kind_are_written(values: NDArray[Any]) -> None:
    writer = BatchWriter()
    problem = Problem(INVALID_INPUT, "no")
    stream = (
        writer.records(5, [Predicted(values), Refused(problem)])
        + writer.records(8, [Refused(problem), Refused(problem)])
        + writer.last(problem)
    )
    rows = read(stream)
    assert [row["row"] for row in rows] == [5, 6, 7, 8, 9, None]
    listed = [list(row) if isinstance(row, list) else row for row in values.tolist()]
    assert [row["prediction"] for row in rows] == [*listed, None, None, None, None]
    assert [row["problem"] is None for row in rows] == [True, True, *[False] * 4]


def test_an_answer_without_rows_is_a_stream() -> None:
    assert read(BatchWriter().end()) == []


def test_what_arrow_has_no_column_for_is_refused() -> None:
    several = np.empty(1, object)
    several[0] = [[1.0], [2.0]]
    with pytest.raises(Problem, match="ask for another form"):
        BatchWriter().records(0, [Predicted(several)])
    writer = BatchWriter()
    writer.records(0, [Predicted(np.array([1, 2]))])
    with pytest.raises(Problem, match="were int64, and are float64 now"):
        writer.records(2, [Predicted(np.array([1.5]))])
