"""Streams of JSON lines: a row a line in, a record a line out."""

from collections.abc import AsyncIterator, Callable, Sequence
from functools import cached_property
from typing import Any

import msgspec

from api_host import flat
from api_host.bounds import Bounds
from api_host.codecs import unchecked
from api_host.problems import (
    BODY_TOO_LARGE,
    INVALID_BODY,
    Mistake,
    Problem,
    ProblemDocument,
    invalid_input,
    pointer,
)
from api_host.schema import Signature
from api_host.streams.feed import KIBIBYTE, Feed
from api_host.streams.form import Chunk, Limits, Outcome, Refused, arriving
from api_host.table import Table

NDJSON = "application/x-ndjson"

CHUNK_BYTES = 256 * KIBIBYTE
"""Most bytes that are read as lines at once; a single line may be longer."""

_decode = msgspec.json.Decoder().decode


class LineReader:
    """Reads lines. Empty ones are no rows."""

    def __init__(self, feed: Feed, signature: Signature | None, limits: Limits) -> None:
        self._feed = feed
        self._signature = signature
        self._limits = limits
        # So that no line in the midst of them is longer than lines may be.
        self._block_bytes = min(CHUNK_BYTES, limits.bytes)

    async def chunks(self) -> AsyncIterator[Chunk]:
        """The rows, at most `chunk_rows` at once, and no later than they are here."""
        while first := await self._first_line():
            block = bytes(self._feed.buffer[: max(first, self._block_bytes)])
            *whole, part = block.split(b"\n", self._limits.chunk_rows)
            await self._feed.take(len(block) - len(part))
            lines = [line for line in whole if line.strip()]
            if lines:
                yield _Lines(lines, self._signature, self._limits.bounds)

    async def _first_line(self) -> int:
        """The length of the first line, of which all is here; 0 after the last."""
        feed, searched = self._feed, 0
        async with arriving("a line", self._limits):
            while (end := feed.buffer.find(b"\n", searched)) < 0:
                searched = len(feed.buffer)
                if searched > self._limits.bytes:
                    break
                if feed.ended:
                    # The last line may do without its end.
                    feed.buffer += b"\n" if searched else b""
                    return len(feed.buffer)
                await feed.more()
        if not 0 <= end <= self._limits.bytes:
            detail = f"a line may have {self._limits.bytes} bytes, and the next one has more"
            raise Problem(BODY_TOO_LARGE, detail)
        return end + 1


class _Lines:
    def __init__(self, lines: Sequence[bytes], signature: Signature | None, bounds: Bounds) -> None:
        self._lines = lines
        self._signature = signature
        self._bounds = bounds

    def __len__(self) -> int:
        return len(self._lines)

    @cached_property
    def _rows(self) -> list[Any]:
        return [_row(line, self._bounds) for line in self._lines]

    def table(self, start: int, stop: int) -> Table:
        """Some of the rows, checked."""
        rows = self._rows[start:stop]
        for row in rows:
            if isinstance(row, Problem):
                raise row
        try:
            return self._signature.from_rows(rows) if self._signature else unchecked(rows)
        except Problem as problem:
            raise _within(problem) from None


def _row(line: bytes, bounds: Bounds) -> Any:
    """What a line holds, or why it cannot be read."""
    try:
        row = _decoded(line, bounds)
        if isinstance(row, dict | list):
            bounds.check_columns(len(row))
    except Problem as problem:
        return problem
    except (msgspec.MsgspecError, ValueError) as error:
        return Problem(INVALID_BODY, f"the line is not JSON: {error}")
    except RecursionError:
        return Problem(INVALID_BODY, "the line is nested too deeply")
    return row


def _decoded(line: bytes, bounds: Bounds) -> Any:
    try:
        return flat.read_row(line)
    except (msgspec.MsgspecError, ValueError):
        bounds.check_json(line)
        return _decode(line)


def _within(problem: Problem) -> Problem:
    """The same problem of one row, with pointers into its line."""
    place = pointer("rows", 0)
    if not problem.mistakes:
        return problem
    return invalid_input(
        [Mistake(m.pointer.removeprefix(place), m.detail) for m in problem.mistakes]
    )


class _Prediction(msgspec.Struct):
    row: int
    prediction: Any


class _Probabilities(msgspec.Struct):
    row: int
    classes: msgspec.Raw
    probabilities: Any


class _Refusal(msgspec.Struct):
    row: int
    problem: ProblemDocument


class LineWriter:
    """Writes `{"row": 7, "prediction": ...}`, or `problem` where a row cannot be predicted.

    `classes`: what predictions are the probabilities of, if they are: then a line has both.
    """

    def __init__(self, classes: list[Any] | None = None) -> None:
        self._encoder = msgspec.json.Encoder()
        self._record: Callable[[int, Any], _Prediction | _Probabilities] = _Prediction
        if classes is not None:
            raw = msgspec.Raw(self._encoder.encode(classes))
            self._record = lambda row, values: _Probabilities(row, raw, values)

    def records(self, first_row: int, outcomes: Sequence[Outcome]) -> bytes:
        """A line for each row."""
        lines: list[_Prediction | _Probabilities | _Refusal] = []
        row = first_row
        for outcome in outcomes:
            if isinstance(outcome, Refused):
                lines.append(_Refusal(row, outcome.problem.document()))
            else:
                lines += map(self._record, range(row, row + len(outcome)), outcome.values.tolist())
            row += len(outcome)
        return self._encoder.encode_lines(lines)

    def last(self, problem: Problem) -> bytes:
        """A line that is about no row."""
        return self._encoder.encode({"problem": problem.document()}) + b"\n"

    def end(self) -> bytes:
        """Nothing: the answer ends after its last line."""
        return b""
