"""Lines of JSON, however they arrive and whatever they hold."""

import asyncio
import json
from collections.abc import AsyncIterator, Sequence
from itertools import pairwise
from typing import Any

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from api_host.bounds import Bounds
from api_host.kinds import KINDS, Column
from api_host.problems import BODY_TOO_LARGE, INVALID_BODY, INVALID_INPUT, Problem
from api_host.schema import Signature
from api_host.streams.feed import Feed
from api_host.streams.form import CHUNK_ROWS, Chunk, Limits, Predicted, Refused
from api_host.streams.ndjson import LineReader, LineWriter

PAIR = Signature((Column("a", KINDS["double"]), Column("b", KINDS["string"])), True, False)
LIMITS = Limits(bytes=200, seconds=10.0, bounds=Bounds(rows=100))


def chunks(pieces: Sequence[bytes]) -> list[Chunk]:
    """The chunks of a stream that arrives in these pieces."""

    async def arriving() -> AsyncIterator[bytes]:
        for piece in pieces:
            yield piece

    async def read() -> list[Chunk]:
        async with Feed(arriving()) as feed:
            return [chunk async for chunk in LineReader(feed, PAIR, LIMITS).chunks()]

    return asyncio.run(read())


def rows(found: Sequence[Chunk]) -> list[Any]:
    """Each row of some chunks, or why it was refused."""
    outcomes: list[Any] = []
    for chunk in found:
        for index in range(len(chunk)):
            try:
                table: Any = chunk.table(index, index + 1).natural()
                outcomes += table.to_dict("records")
            except Problem as problem:
                outcomes.append(problem.kind)
    return outcomes


@given(
    sent=st.lists(st.tuples(st.floats(allow_nan=False, allow_infinity=False), st.text(max_size=9))),
    cuts=st.lists(st.integers(0, 2_000)),
)
def test_rows_are_the_same_however_they_are_cut(
    sent: list[tuple[float, str]], cuts: list[int]
) -> None:
    expected = [{"a": a, "b": b} for a, b in sent]
    body = b"".join(json.dumps(row).encode() + b"\n" for row in expected)
    places = sorted({0, len(body), *(cut for cut in cuts if cut < len(body))})
    assert rows(chunks([body[a:b] for a, b in pairwise(places)])) == expected


@given(body=st.binary(max_size=400) | st.text('{}[]",:\n a1', max_size=400).map(str.encode))
def test_garbage_is_refused_line_by_line(body: bytes) -> None:
    try:
        found = rows(chunks([body]))
    except Problem as problem:
        assert problem.kind is BODY_TOO_LARGE  # noqa: PT017 - that it is raised is not sure
    else:
        assert len(found) == sum(1 for line in body.split(b"\n") if line.strip())
        assert set(found) <= {INVALID_BODY, INVALID_INPUT}


def test_many_rows_are_several_chunks() -> None:
    found = chunks([b"{}\n" * (2 * CHUNK_ROWS + 1)])
    assert max(map(len, found)) <= CHUNK_ROWS
    assert sum(map(len, found)) == 2 * CHUNK_ROWS + 1


def test_a_record_a_row_and_one_of_no_row() -> None:
    writer = LineWriter()
    problem = Problem(INVALID_INPUT, "no")
    text = writer.records(
        3, [Predicted(np.array([[0.5, np.nan]])), Refused(problem), Predicted(np.array(["x"]))]
    )
    first, second, third = map(json.loads, text.splitlines())
    assert first == {"row": 3, "prediction": [0.5, None]}
    assert (second["row"], second["problem"]["status"]) == (4, 422)
    assert third == {"row": 5, "prediction": "x"}
    assert json.loads(writer.last(problem) + writer.end()).keys() == {"problem"}
