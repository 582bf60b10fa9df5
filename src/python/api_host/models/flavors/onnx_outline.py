"""Reads of an ONNX file what must be known before a runtime opens it.

That is: which other files it names, and whose operators. Only the members that lead there are
declared; protobuf passes over all others as it would over unknown ones.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

from google.protobuf.descriptor_pb2 import FieldDescriptorProto, FileDescriptorProto
from google.protobuf.descriptor_pool import DescriptorPool
from google.protobuf.message import DecodeError, Message
from google.protobuf.message_factory import GetMessageClass

from api_host.errors import ModelRefusedError

DOMAINS = frozenset({"", "ai.onnx", "ai.onnx.ml", "com.microsoft"})
"""Whose operators the runtime has."""

MOST_FILES = 100
LONGEST_QUOTE = 100

_MESSAGES: Mapping[str, Mapping[str, tuple[int, str]]] = {
    "Model": {"graph": (7, "Graph"), "training": (20, "Training"), "functions": (25, "Function")},
    "Training": {"initialization": (1, "Graph"), "algorithm": (2, "Graph")},
    "Graph": {"node": (1, "Node"), "initializer": (5, "Tensor"), "sparse": (15, "SparseTensor")},
    "Function": {"name": (1, ""), "domain": (10, ""), "node": (7, "Node"), "given": (11, "Value")},
    "Node": {"type": (4, ""), "domain": (7, ""), "attribute": (5, "Value")},
    "Value": {
        "t": (5, "Tensor"),
        "g": (6, "Graph"),
        "tensors": (10, "Tensor"),
        "graphs": (11, "Graph"),
        "sparse": (22, "SparseTensor"),
        "sparses": (23, "SparseTensor"),
    },
    "SparseTensor": {"values": (1, "Tensor"), "indices": (2, "Tensor")},
    "Tensor": {"external": (13, "Entry")},
    "Entry": {"key": (1, ""), "value": (2, "")},
}
"""The messages of ONNX: each member's number and what it is; bytes if nothing is said.

All members that are messages are declared as repeated ones, of which protobuf then keeps each.
"""


@dataclass(frozen=True)
class Part:
    """Bytes in another file that are the values of a tensor; `length` None: as many as it has."""

    file: str
    offset: int
    length: int | None


@dataclass(frozen=True)
class Outline:
    """What an ONNX file refers to.

    `parts`: of other files.
    """

    parts: tuple[Part, ...]

    @property
    def files(self) -> tuple[str, ...]:
        """The names of those files."""
        return tuple(dict.fromkeys(part.file for part in self.parts))

    def check(self, folder: Path) -> None:
        """Raises `ModelRefusedError` if one of the parts is not in its file."""
        sizes: dict[str, int] = {}
        for name in self.files:
            path = folder / name
            if path.is_symlink() or not path.is_file():
                raise ModelRefusedError(f"its weights are in {name}, which is not among its files")
            sizes[name] = path.stat().st_size
        for part in self.parts:
            if part.offset + (part.length or 0) > sizes[part.file]:
                raise ModelRefusedError(f"its weights are beyond the end of {part.file}")


def read_outline(path: Path) -> Outline:
    """Raises `ModelRefusedError` if the file is none, or leads where it must not."""
    model = _model_class()()
    try:
        model.ParseFromString(path.read_bytes())
    except DecodeError as error:
        raise ModelRefusedError(f"its file {path.name} is not ONNX: {error}") from None
    parts: list[Part] = []
    functions = {(each.domain, each.name) for each in model.functions}
    for message in _messages(model):
        kind = message.DESCRIPTOR.name
        if kind == "Node":
            _check_operator(message, functions)
        elif kind == "Tensor" and message.external:
            parts.append(_part(message.external, path.name))
    outline = Outline(tuple(parts))
    if len(outline.files) > MOST_FILES:
        raise ModelRefusedError(f"its weights are in more than {MOST_FILES} files")
    return outline


def _messages(model: Message) -> Iterator[Any]:
    waiting: list[Any] = [model]
    while waiting:
        message = waiting.pop()
        yield message
        for field, value in message.ListFields():
            if field.message_type is not None and field.message_type.name != "Entry":
                waiting += value


def _check_operator(node: Any, functions: set[tuple[bytes, bytes]]) -> None:
    domain = node.domain.decode(errors="replace")
    if domain not in DOMAINS and (node.domain, node.type) not in functions:
        raise ModelRefusedError(
            f"it has the operator {_quote(node.type)} of {_quote(node.domain)}, and only those of"
            f" {', '.join(sorted(DOMAINS - {''}))} are served: export it without operators of your"
            " own"
        )


def _part(entries: Any, own: str) -> Part:
    told = {entry.key: entry.value for entry in entries}
    if len(told) != len(entries):
        raise ModelRefusedError("it says twice where its weights are")
    location = told.get(b"location", b"")
    name = location.decode(errors="replace")
    if name in ("", ".", "..", own, "MLmodel") or name.startswith(".") or set(name) & set("/\\\0"):
        raise ModelRefusedError(
            f"its weights are in {_quote(location)}, which is not a file of its own folder"
        )
    length = _number(told[b"length"]) if b"length" in told else None
    return Part(name, _number(told.get(b"offset", b"0")), length)


def _number(text: bytes) -> int:
    if not text.isdigit() or len(text) > len(str(2**63)) - 1:
        raise ModelRefusedError(f"its weights are at {_quote(text)}, which is no place in a file")
    return int(text)


def _quote(text: bytes) -> str:
    return repr(text[:LONGEST_QUOTE].decode(errors="replace"))


@cache
def _model_class() -> type[Any]:
    file = FileDescriptorProto(name="outline", package="outline", syntax="proto2")
    for name, members in _MESSAGES.items():
        message = file.message_type.add(name=name)
        for member, (number, kind) in members.items():
            field = message.field.add(name=member, number=number)
            if kind:
                field.label = FieldDescriptorProto.LABEL_REPEATED
                field.type = FieldDescriptorProto.TYPE_MESSAGE
                field.type_name = f".outline.{kind}"
            else:
                field.label = FieldDescriptorProto.LABEL_OPTIONAL
                field.type = FieldDescriptorProto.TYPE_BYTES
    pool = DescriptorPool()
    pool.Add(file)
    return GetMessageClass(pool.FindMessageTypeByName("outline.Model"))
