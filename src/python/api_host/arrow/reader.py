"""Streams in Arrow's IPC format: a schema, then record batches."""

from collections import Counter
from collections.abc import AsyncIterator, Iterable, Iterator, Sequence
from typing import Any

import pandas as pd

from api_host.arrow.columns import Column, Values, open_columns, read_dictionary
from api_host.arrow.metadata import Batch, Dictionary, Field, Form, broken, read_message
from api_host.bounds import Bounds
from api_host.kinds import Column as InputColumn
from api_host.kinds import Kind
from api_host.problems import (
    BODY_TOO_LARGE,
    Mistake,
    Problem,
    invalid_input,
    pointer,
)
from api_host.schema import Signature
from api_host.streams.feed import Feed
from api_host.streams.form import Chunk, Limits, arriving
from api_host.table import Table

ARROW = "application/vnd.apache.arrow.stream"

_START = b"\xff\xff\xff\xff"
_END = bytes(4)


class BatchReader:
    """Reads record batches."""

    def __init__(self, feed: Feed, signature: Signature | None, limits: Limits) -> None:
        self._feed = feed
        self._signature = signature
        self._limits = limits
        self._fields: tuple[Field, ...] = ()
        self._dictionaries: dict[int, Values] = {}
        self._dictionary_bytes: dict[int, int] = {}

    async def chunks(self) -> AsyncIterator[Chunk]:
        """The rows, at most `chunk_rows` at once; a new record batch begins a new chunk."""
        first = await self._message()
        if first is None or not isinstance(first[0], tuple):
            raise broken("it does not begin with a schema")
        self._fields = first[0]
        _check(self._fields, self._signature)
        bounds = self._limits.bounds
        while message := await self._message():
            content, body = message
            if isinstance(content, Dictionary):
                self._learn(content, body)
            elif isinstance(content, Batch):
                self._check_rows(content)
                columns = open_columns(self._fields, content, body, self._dictionaries)
                for start in range(0, content.rows, self._limits.chunk_rows):
                    stop = min(start + self._limits.chunk_rows, content.rows)
                    yield _Rows(self._fields, columns, range(start, stop), self._signature, bounds)
            else:
                raise broken("it has two schemas")

    async def _message(self) -> tuple[tuple[Field, ...] | Dictionary | Batch, bytes] | None:
        """The next message and its body; None after the last."""
        async with arriving("a message", self._limits):
            if not await self._is_here(1):
                return None
            prefix = await self._exactly(8)
            if prefix[:4] != _START:
                raise broken("a message does not begin as one")
            size = int.from_bytes(prefix[4:], "little")
            if prefix[4:] == _END:
                if await self._is_here(1):
                    raise broken("something follows its end")
                return None
            self._check_size(size)
            message = read_message(await self._exactly(size), self._limits.bounds)
            self._check_size(message.body_bytes)
            return message.content, await self._exactly(message.body_bytes)

    async def _exactly(self, size: int) -> bytes:
        if not await self._is_here(size):
            raise broken("it ends in the middle of a message")
        return await self._feed.take(size)

    async def _is_here(self, size: int) -> bool:
        while len(self._feed.buffer) < size and not self._feed.ended:
            await self._feed.more()
        return len(self._feed.buffer) >= size

    def _check_size(self, size: int) -> None:
        if size > self._limits.bytes:
            detail = f"a message may have {self._limits.bytes} bytes, and one has {size}"
            raise Problem(BODY_TOO_LARGE, f"{detail}: write smaller record batches")

    def _check_rows(self, batch: Batch) -> None:
        self._limits.bounds.check_rows(batch.rows)

    def _learn(self, dictionary: Dictionary, body: bytes) -> None:
        """Keeps a dictionary, instead of the one with its number."""
        number = dictionary.number
        field = next((field for field in self._fields if field.dictionary == number), None)
        if field is None or field.type is None:
            raise broken(f"no column has the dictionary {number}")
        self._check_rows(dictionary.batch)
        self._dictionary_bytes[number] = len(body)
        self._check_size(sum(self._dictionary_bytes.values()))
        self._dictionaries[number] = read_dictionary(field.type, dictionary.batch, body)
        self._limits.bounds.check_strings(self._dictionaries[number])


class _Rows:
    def __init__(
        self,
        fields: Sequence[Field],
        columns: Sequence[Column],
        places: range,
        signature: Signature | None,
        bounds: Bounds,
    ) -> None:
        self._fields = fields
        self._columns = columns
        self._places = places
        self._signature = signature
        self._bounds = bounds

    def __len__(self) -> int:
        return len(self._places)

    def table(self, start: int, stop: int) -> Table:
        """Some of the rows, checked."""
        first = self._places.start
        found = [c.values(first + start, first + stop) for c in self._columns]
        for values in found:
            if isinstance(values, list):
                self._bounds.check_strings(values)
        if self._signature is None:
            names = [field.name for field in self._fields]
            return Table(pd.DataFrame(dict(zip(names, found, strict=True))))
        by_name: dict[str | int, Values] = {}
        if self._signature.named:
            named = {f.name: v for f, v in zip(self._fields, found, strict=True)}
            nothing: list[Any] = [None] * (stop - start)
            by_name = {c.name: named.get(str(c.name), nothing) for c in self._signature.columns}
        else:
            by_name = dict(enumerate(found))
        return self._signature.checked(by_name, lambda name, _: pointer(name))


def _check(fields: Sequence[Field], signature: Signature | None) -> None:
    """Holds the schema against the signature. Raises `Problem`."""
    mistakes = list(_mistakes(fields, signature))
    if mistakes:
        raise invalid_input(mistakes)


def _mistakes(fields: Sequence[Field], signature: Signature | None) -> Iterator[Mistake]:
    for field in fields:
        if field.type is None:
            yield Mistake(
                pointer(field.name), f"is a column of {field.type_name}, which is not read"
            )
    if signature is None or signature.named:
        yield from _twins(field.name for field in fields)
    if signature is None:
        return
    columns = {str(column.name): column for column in signature.columns}
    if signature.named:
        names = [field.name for field in fields]
    else:
        names = list(columns)
        if len(fields) != len(columns):
            yield Mistake("", f"must have {len(columns)} columns, and has {len(fields)}")
    for name, column in columns.items():
        if column.required and name not in names:
            yield Mistake(pointer(name), "is missing")
    for name, field in zip(names, fields, strict=False):
        yield from _misfits(name, field, columns.get(name))


def _twins(names: Iterable[str]) -> Iterator[Mistake]:
    for name, count in Counter(names).items():
        if count > 1:
            yield Mistake(pointer(name), "is the name of two columns")


def _misfits(name: str, field: Field, column: InputColumn | None) -> Iterator[Mistake]:
    if column is None:
        yield Mistake(pointer(name), "is not a column of this model")
    elif field.type and field.type.form not in _forms(column.kind):
        expected = column.kind.expected
        yield Mistake(pointer(name), f"must be {expected}, and is a column of {field.type}")


def _forms(kind: Kind) -> set[Form]:
    """The types of columns in which values of a kind may come."""
    texts = {Form.TEXT, Form.LARGE_TEXT, Form.NULL}
    match kind.dtype.kind:
        case "b":
            return {Form.BOOL}
        case "i" | "u":
            return {Form.INT, Form.FLOAT}
        case "f":
            return {Form.INT, Form.FLOAT, Form.NULL}
        case "M":
            return {Form.DATE, Form.TIMESTAMP, *texts}
    return {Form.BINARY, Form.LARGE_BINARY} if kind.name == "binary" else texts
