"""Predictions of streams: rows in and records out at the same time, for any number of rows.

Chunk by chunk: the next one is read when what the last one gave is on its way to the client.
Whoever sends a stream reads while it sends, or both sides would wait for each other; or it says
that it does not, and gets an answer of limited length.
"""

import asyncio
import math
from collections.abc import AsyncGenerator, Callable
from contextlib import aclosing
from dataclasses import dataclass
from typing import Any, TypeVar

import structlog
from starlette.datastructures import Headers
from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from api_host import metrics
from api_host.arrow.reader import ARROW, BatchReader
from api_host.arrow.writer import BatchWriter
from api_host.auth.layer import check_again
from api_host.bodies import check_encoding
from api_host.bounds import Bounds
from api_host.host import Host, host_of
from api_host.models.catalog import Served
from api_host.problems import (
    BODY_TOO_LARGE,
    INVALID_QUERY,
    OVERLOADED,
    PREDICTION_FAILED,
    PREDICTION_TIMEOUT,
    Problem,
)
from api_host.rates.layer import visit_of
from api_host.scoring import by_row, refuse
from api_host.streams.feed import READ_AHEAD_BYTES, Feed
from api_host.streams.form import Chunk, Limits, Outcome, Predicted, Reader, Refused, Writer
from api_host.streams.ndjson import NDJSON, LineReader, LineWriter
from api_host.table import Table

T = TypeVar("T")

FIRST_ROW = "from_row"
"""The parameter of the query that says by which number the first row goes."""

DUPLEX = "Tripod-Duplex"
HALF = "half"
"""Says that nobody reads the answer before all rows are sent: it is held until then."""

_READERS: dict[str, type[LineReader | BatchReader]] = {NDJSON: LineReader, ARROW: BatchReader}
_WRITERS: dict[str, type[LineWriter | BatchWriter]] = {NDJSON: LineWriter, ARROW: BatchWriter}

_PIECES = 16

SECONDS = 1.0
PAUSE_SECONDS = 0.1 * SECONDS
"""After which a model that was asked too much is asked again."""

_log = structlog.get_logger("api_host.bulk")


def is_stream(headers: Headers) -> bool:
    """Whether a request's body is a stream of rows."""
    return _media_type(headers.get("Content-Type", "")) in _READERS


def first_row(request: Request) -> int:
    """The number of the first row. Raises `Problem`."""
    text = request.query_params.get(FIRST_ROW, "0")
    if not (text.isascii() and text.isdigit() and len(text) < len(str(2**53))):
        detail = f"{FIRST_ROW} is {text!r}: it must be the number of a row, 0 or more"
        raise Problem(INVALID_QUERY, detail)
    return int(text)


class StreamOfPredictions(Response):
    """The answer to a stream, which reads the request while it is sent.

    `classes`: what the predictions of `served` are the probabilities of, if that is asked for.
    """

    def __init__(self, request: Request, served: Served, classes: list[Any] | None = None) -> None:
        self._form = _media_type(request.headers["Content-Type"])
        wanted = map(_media_type, request.headers.get("Accept", "").split(","))
        form = next((each for each in wanted if each in _WRITERS), self._form)
        super().__init__(media_type=form)
        del self.headers["Content-Length"]
        self._writer: Writer = _WRITERS[form](classes)
        self._row = first_row(request)
        self._holds = request.headers.get(DUPLEX) == HALF
        self._held = bytearray()
        self._begun = False
        self._request = request
        self._served = served
        self._host = host_of(request)
        self._visit = visit_of(request)
        settings = self._host.settings
        limits = self._host.limits.of(served.version.name)
        self._predict_seconds = limits.timeout_seconds
        self._limits = Limits(
            bytes=settings.api_max_body_bytes,
            seconds=settings.api_read_timeout_seconds,
            bounds=_bounds(self._host, served),
        )

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:  # noqa: ARG002
        """Answers. Raises `Problem` where nothing has been answered yet."""
        async with Feed(self._request.stream()) as feed, aclosing(self._pieces(feed)) as pieces:
            try:
                async for piece in pieces:
                    await self._give(send, feed, piece)
            except Problem as problem:
                # Whoever still sends might not read why that is of no use.
                forgetting = asyncio.create_task(feed.forget(self._limits.seconds))
                if not self._begun and not self._held:
                    await forgetting
                    raise
                problem.next_row = self._row
                await self._send(send, feed, bytes(self._held) + self._writer.last(problem))
                await forgetting
            else:
                await self._send(send, feed, bytes(self._held))
            await send({"type": "http.response.body"})

    async def _pieces(self, feed: Feed) -> AsyncGenerator[bytes, None]:
        check_encoding(self._request)
        signature = self._served.model.signature
        reader: Reader = _READERS[self._form](feed, signature, self._limits)
        async for chunk in reader.chunks():
            await self._visit.wait_for_rows(len(chunk))
            await check_again(self._request, self._served.version.name)
            outcomes = await self._outcomes(chunk)
            piece = await self._in_thread(self._writer.records, self._row, outcomes)
            self._row += len(chunk)
            yield piece
        yield self._writer.end()

    async def _outcomes(self, chunk: Chunk) -> list[Outcome]:
        seconds = self._predict_seconds
        try:
            async with asyncio.timeout(seconds):
                return await self._predicted(chunk, 0, len(chunk))
        except TimeoutError:
            raise Problem(
                PREDICTION_TIMEOUT,
                f"{self._served.version.name} did not answer within {seconds:g} s",
            ) from None

    async def _predicted(self, chunk: Chunk, start: int, stop: int) -> list[Outcome]:
        """What becomes of some rows."""
        outcomes: list[Outcome] = []
        for part in await self._in_thread(_parts, chunk, start, stop):
            if isinstance(part.table, Problem):
                outcomes.append(Refused(part.table))
                continue
            try:
                predictions = await self._ask(part.table)
                outcomes.append(Predicted(by_row(predictions, part.stop - part.start)))
            except Problem as problem:
                if problem.kind is not PREDICTION_FAILED:
                    raise
                if part.stop - part.start == 1:
                    outcomes.append(Refused(problem))
                else:
                    for first, last in _split(part.start, part.stop):
                        outcomes += await self._predicted(chunk, first, last)
        return outcomes

    async def _ask(self, table: Table) -> Any:
        """The predictions. A stream has time, and waits where others are refused."""
        lane = self._host.lanes.of(self._served)
        while True:
            try:
                predictions = lane.predict_now(table)
                if predictions is None:
                    predictions = await lane.predict(table, caller=self._visit.caller)
            except Problem as problem:
                if problem.kind is not OVERLOADED:
                    raise
                await asyncio.sleep(PAUSE_SECONDS)
            except Exception as error:
                raise refuse(error) from error
            else:
                metrics.note_rows(self._served.version, len(table))
                return predictions

    async def _in_thread(self, function: Callable[..., T], *arguments: Any) -> T:
        loop = asyncio.get_running_loop()
        return await loop.run_in_executor(self._host.threads, function, *arguments)

    async def _give(self, send: Send, feed: Feed, piece: bytes) -> None:
        if not self._holds:
            await self._send(send, feed, piece)
            return
        self._held += piece
        if len(self._held) > self._limits.bytes:
            raise Problem(
                BODY_TOO_LARGE,
                f"with {DUPLEX}: {HALF} an answer may have {self._limits.bytes} bytes, and this one"
                f" has more: send the rest with {FIRST_ROW}={self._row}",
            )

    async def _send(self, send: Send, feed: Feed, piece: bytes) -> None:
        if not self._begun:
            start = {"status": self.status_code, "headers": self.raw_headers}
            await send({"type": "http.response.start", **start})
            self._begun = True
        if self._request.scope["http_version"].startswith("2"):
            # That the client has room for more comes behind the rows that it has sent already.
            await feed.allow(self._limits.bytes)
        try:
            async with asyncio.timeout(self._limits.seconds):
                await send({"type": "http.response.body", "body": piece, "more_body": True})
        except TimeoutError:
            _log.warning(
                "stream cut off: its client sends without reading the answer",
                seconds=self._limits.seconds,
                before_row=self._row,
            )
            raise ClientDisconnect from None
        await feed.allow(READ_AHEAD_BYTES)


@dataclass(frozen=True)
class _Part:
    """Rows of a chunk as a model takes them, or one row and why it cannot be taken."""

    start: int
    stop: int
    table: Table | Problem


def _parts(chunk: Chunk, start: int, stop: int) -> list[_Part]:
    """As few parts as leave out the bad rows."""
    try:
        return [_Part(start, stop, chunk.table(start, stop))]
    except Problem as problem:
        if stop - start == 1:
            return [_Part(start, stop, problem)]
    return [part for piece in _split(start, stop) for part in _parts(chunk, *piece)]


def _split(start: int, stop: int) -> list[tuple[int, int]]:
    """Some rows in pieces, of which few should have the one that is to blame."""
    size = math.ceil((stop - start) / _PIECES)
    return [(first, min(first + size, stop)) for first in range(start, stop, size)]


def _bounds(host: Host, served: Served) -> Bounds:
    bounds, signature = host.limits.bounds_of(served.version.name), served.model.signature
    return bounds if signature is None else bounds.fitting(len(signature.columns))


def _media_type(value: str) -> str:
    return value.partition(";")[0].strip().lower()
