"""Answers in Arrow's IPC format: record batches of `row`, `prediction` and `problem`."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import msgspec
import numpy as np
from flatbuffers import Builder
from numpy.typing import NDArray

from api_host.arrow.metadata import Form, Header
from api_host.problems import PREDICTION_FAILED, Problem
from api_host.streams.form import Outcome, Predicted, Refused

_START = b"\xff\xff\xff\xff"
_END = _START + bytes(4)
_ALIGNMENT = 8
_FIFTH_VERSION = 4
_FIXED_SIZE_LIST = 16
_NANOSECONDS = 3
_LARGEST = 8
_TEXT = np.dtype(object)
_MOMENT = np.dtype("<M8[ns]")


@dataclass(frozen=True)
class _Kind:
    """What predictions are written as.

    `dtype`: of a value: a number, truth or moment; object for a text.
    `width`: how many values a row has, if its prediction is a list; else 0.
    """

    dtype: np.dtype[Any]
    width: int = 0


class BatchWriter:
    """Writes a record batch a chunk. The first one says what all predictions are.

    `classes`: what predictions are the probabilities of, if they are: then the column is
        `probabilities`, and the metadata of the schema have the classes as JSON.
    """

    def __init__(self, classes: list[Any] | None = None) -> None:
        self._kind: _Kind | None = None
        self._classes = classes

    def records(self, first_row: int, outcomes: Sequence[Outcome]) -> bytes:
        """A record batch; a row that cannot be predicted has a `problem`, as JSON."""
        schema = b""
        if self._kind is None:
            self._kind = _kind_of_first(outcomes)
            schema = _schema(self._kind, self._classes)
        rows = sum(map(len, outcomes))
        valid, values = _predictions(outcomes, self._kind)
        body = _Body(rows)
        body.add_numbers(np.arange(first_row, first_row + rows), None)
        body.add(values, valid, self._kind)
        body.add_texts(_problems(outcomes))
        return schema + body.message()

    def last(self, problem: Problem) -> bytes:
        """A record that is about no row: its `row` is null."""
        kind = self._kind or _Kind(_TEXT)
        never = np.zeros(1, bool)
        body = _Body(1)
        body.add_numbers(np.zeros(1, np.int64), never)
        body.add(_empty(kind, 1), never, kind)
        body.add_texts([_json(problem)])
        return body.message() + _END

    def end(self) -> bytes:
        """The mark of the end."""
        return (b"" if self._kind else _schema(_Kind(_TEXT), self._classes)) + _END


def _problems(outcomes: Sequence[Outcome]) -> list[str | None]:
    texts: list[str | None] = []
    for outcome in outcomes:
        if isinstance(outcome, Refused):
            texts.append(_json(outcome.problem))
        else:
            texts += [None] * len(outcome)
    return texts


def _json(problem: Problem) -> str:
    return msgspec.json.encode(problem.document()).decode()


def _kind_of_first(outcomes: Sequence[Outcome]) -> _Kind:
    for outcome in outcomes:
        if isinstance(outcome, Predicted):
            values = outcome.values
            return _Kind(_written_as(values), values.shape[1] if values.ndim > 1 else 0)
        problem = outcome.problem
    # Nobody knows yet what the predictions are: this is the answer to the whole stream.
    raise problem


def _written_as(values: NDArray[Any]) -> np.dtype[Any]:
    dtype = values.dtype
    if values.ndim == 1:
        if dtype.kind == "M":
            return _MOMENT
        if dtype.kind == "U" or (dtype.kind == "O" and all(_is_text(value) for value in values)):
            return _TEXT
    if dtype.kind in "biuf" and dtype.itemsize <= _LARGEST and values.ndim in (1, 2):
        return dtype.newbyteorder("<")
    raise Problem(
        PREDICTION_FAILED,
        f"the predictions are {dtype} of {values.ndim} dimensions, for which Arrow is not written"
        " here: ask for another form with Accept",
    )


def _is_text(value: object) -> bool:
    return value is None or isinstance(value, str)


def _predictions(
    outcomes: Sequence[Outcome], kind: _Kind
) -> tuple[NDArray[np.bool_] | None, NDArray[Any]]:
    """The predictions, and which rows have one; None if all have."""
    arrays = [
        _as_first(o.values, kind) if isinstance(o, Predicted) else _empty(kind, 1) for o in outcomes
    ]
    values = np.concatenate(arrays)
    if not any(isinstance(outcome, Refused) for outcome in outcomes):
        return None, values
    lengths = [len(outcome) for outcome in outcomes]
    return np.repeat([isinstance(outcome, Predicted) for outcome in outcomes], lengths), values


def _as_first(values: NDArray[Any], kind: _Kind) -> NDArray[Any]:
    dtype = _written_as(values)
    width = values.shape[1] if values.ndim > 1 else 0
    if width != kind.width or not np.can_cast(dtype, kind.dtype, "safe"):
        detail = f"the predictions were {kind.dtype}, and are {dtype} now"
        raise Problem(PREDICTION_FAILED, f"{detail}: ask for another form with Accept")
    return values.astype(kind.dtype)


def _empty(kind: _Kind, rows: int) -> NDArray[Any]:
    nothing = "" if kind.dtype == _TEXT else 0
    return np.full((rows, kind.width) if kind.width else rows, nothing, dtype=kind.dtype)


@dataclass
class _Body:
    """The columns of a record batch, as Arrow lays them out."""

    rows: int
    nodes: list[tuple[int, int]] = field(default_factory=list)
    buffers: list[tuple[int, int]] = field(default_factory=list)
    data: bytearray = field(default_factory=bytearray)

    def add(self, values: NDArray[Any], valid: NDArray[np.bool_] | None, kind: _Kind) -> None:
        if kind.width:
            self._add_node(self.rows, valid)
            self.add_numbers(values.reshape(-1), None)
        elif kind.dtype == _TEXT:
            listed = values.tolist()
            if valid is not None:
                listed = [text if ok else None for text, ok in zip(listed, valid, strict=True)]
            self.add_texts(listed)
        else:
            self.add_numbers(values, valid)

    def add_numbers(self, values: NDArray[Any], valid: NDArray[np.bool_] | None) -> None:
        self._add_node(len(values), valid)
        is_truth = values.dtype == np.bool_
        self._add_buffer(_packed(values) if is_truth else values.tobytes())

    def add_texts(self, texts: Sequence[str | None]) -> None:
        valid = None if None not in texts else np.array([text is not None for text in texts])
        self._add_node(len(texts), valid)
        encoded = [(text or "").encode() for text in texts]
        offsets = np.zeros(len(texts) + 1, "<i4")
        np.cumsum([len(text) for text in encoded], out=offsets[1:])
        self._add_buffer(offsets.tobytes())
        self._add_buffer(b"".join(encoded))

    def message(self) -> bytes:
        """The whole message."""
        builder = Builder()
        nodes = _pairs(builder, self.nodes)
        buffers = _pairs(builder, self.buffers)
        builder.StartObject(3)
        builder.PrependInt64Slot(0, self.rows, 0)
        builder.PrependUOffsetTRelativeSlot(1, nodes, 0)
        builder.PrependUOffsetTRelativeSlot(2, buffers, 0)
        return _message(builder, Header.BATCH, builder.EndObject(), bytes(self.data))

    def _add_node(self, rows: int, valid: NDArray[np.bool_] | None) -> None:
        nulls = 0 if valid is None else rows - int(np.count_nonzero(valid))
        self.nodes.append((rows, nulls))
        self._add_buffer(b"" if valid is None else _packed(valid))

    def _add_buffer(self, data: bytes) -> None:
        self.buffers.append((len(self.data), len(data)))
        self.data += data
        self.data += bytes(-len(data) % _ALIGNMENT)


def _packed(truths: NDArray[Any]) -> bytes:
    return np.packbits(truths, bitorder="little").tobytes()


def _schema(kind: _Kind, classes: list[Any] | None) -> bytes:
    builder = Builder()
    name = "prediction" if classes is None else "probabilities"
    if kind.width:
        item = _field(builder, "item", kind.dtype)
        children = _offsets(builder, [item])
        prediction = _list_field(builder, name, kind.width, children)
    else:
        prediction = _field(builder, name, kind.dtype)
    row = _field(builder, "row", np.dtype(np.int64))
    problem = _field(builder, "problem", _TEXT)
    fields = _offsets(builder, [row, prediction, problem])
    metadata = None if classes is None else _offsets(builder, [_note(builder, classes)])
    builder.StartObject(3)
    builder.PrependUOffsetTRelativeSlot(1, fields, 0)
    if metadata is not None:
        builder.PrependUOffsetTRelativeSlot(2, metadata, 0)
    return _message(builder, Header.SCHEMA, builder.EndObject(), b"")


def _note(builder: Builder, classes: list[Any]) -> int:
    key = builder.CreateString("classes")
    value = builder.CreateString(msgspec.json.encode(classes).decode())
    builder.StartObject(2)
    builder.PrependUOffsetTRelativeSlot(0, key, 0)
    builder.PrependUOffsetTRelativeSlot(1, value, 0)
    return int(builder.EndObject())


def _field(builder: Builder, name: str, dtype: np.dtype[Any]) -> int:
    match dtype.kind:
        case "O":
            return _finished_field(builder, name, Form.TEXT, lambda: None)
        case "b":
            return _finished_field(builder, name, Form.BOOL, lambda: None)
        case "M":
            return _finished_field(
                builder, name, Form.TIMESTAMP, lambda: builder.PrependInt16Slot(0, _NANOSECONDS, 0)
            )
        case "f":
            precision = (2, 4, 8).index(dtype.itemsize)
            return _finished_field(
                builder, name, Form.FLOAT, lambda: builder.PrependInt16Slot(0, precision, 0)
            )

    def describe() -> None:
        builder.PrependInt32Slot(0, dtype.itemsize * 8, 0)
        builder.PrependBoolSlot(1, dtype.kind == "i", False)

    return _finished_field(builder, name, Form.INT, describe)


def _list_field(builder: Builder, name: str, width: int, children: int) -> int:
    return _finished_field(
        builder, name, _FIXED_SIZE_LIST, lambda: builder.PrependInt32Slot(0, width, 0), children
    )


def _finished_field(
    builder: Builder,
    name: str,
    form: int,
    describe: Callable[[], None],
    children: int | None = None,
) -> int:
    """A column that may be null; `describe` adds what its type says beyond its form."""
    text = builder.CreateString(name)
    if children is None:
        children = _offsets(builder, [])
    builder.StartObject(2)
    describe()
    details = builder.EndObject()
    builder.StartObject(7)
    builder.PrependUOffsetTRelativeSlot(0, text, 0)
    builder.PrependBoolSlot(1, True, False)
    builder.PrependUint8Slot(2, form, 0)
    builder.PrependUOffsetTRelativeSlot(3, details, 0)
    builder.PrependUOffsetTRelativeSlot(5, children, 0)
    return int(builder.EndObject())


def _offsets(builder: Builder, tables: Sequence[int]) -> int:
    builder.StartVector(4, len(tables), 4)
    for table in reversed(tables):
        builder.PrependUOffsetTRelative(table)
    return int(builder.EndVector())


def _pairs(builder: Builder, pairs: Sequence[tuple[int, int]]) -> int:
    builder.StartVector(16, len(pairs), _ALIGNMENT)
    for first, second in reversed(pairs):
        builder.PrependInt64(second)
        builder.PrependInt64(first)
    return int(builder.EndVector())


def _message(builder: Builder, kind: Header, content: int, body: bytes) -> bytes:
    builder.StartObject(5)
    builder.PrependInt16Slot(0, _FIFTH_VERSION, 0)
    builder.PrependUint8Slot(1, kind, 0)
    builder.PrependUOffsetTRelativeSlot(2, content, 0)
    builder.PrependInt64Slot(3, len(body), 0)
    builder.Finish(builder.EndObject())
    metadata = bytes(builder.Output())
    metadata += bytes(-len(metadata) % _ALIGNMENT)
    return _START + len(metadata).to_bytes(4, "little") + metadata + body
