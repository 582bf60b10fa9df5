"""Arrow IPC streams, written and read by a library that is not ours."""

import io
import random
import struct
from collections.abc import Mapping, Sequence
from typing import Any

import nanoarrow as na
from nanoarrow.ipc import StreamWriter

ARROW = "application/vnd.apache.arrow.stream"


def column(values: Sequence[Any], type_: str = "float64") -> Any:
    """A column of a type that nanoarrow knows by this name."""
    return na.c_array(values, getattr(na, type_)())


def written(*batches: Mapping[str, Any]) -> bytes:
    """A stream of record batches with these columns."""
    stream = io.BytesIO()
    with StreamWriter.from_writable(stream) as writer:
        for columns in batches:
            schema = na.struct({name: values.schema for name, values in columns.items()})
            rows = len(next(iter(columns.values())))
            children = list(columns.values())
            writer.write_array(na.c_array_from_buffers(schema, rows, [None], children=children))
    return stream.getvalue()


def read(stream: bytes) -> list[dict[str, Any]]:
    """The rows of a stream."""
    rows: list[dict[str, Any]] = na.ArrayStream.from_readable(stream).read_all().to_pylist()
    return rows


def damaged(stream: bytes, chance: random.Random) -> bytes:
    """A stream in which some bytes and numbers are others, or its end is missing."""
    data = bytearray(stream)
    for _ in range(chance.choice([1, 1, 2, 5])):
        place = chance.randrange(len(data))
        match chance.randrange(5):
            case 0:
                data[place] = chance.randrange(256)
            case 1 if place + 4 <= len(data):
                numbers = [0, 1, -1, 2**31 - 1, -(2**31), chance.randrange(1000)]
                struct.pack_into("<i", data, place // 4 * 4, chance.choice(numbers))
            case 2 if place // 8 * 8 + 8 <= len(data):
                numbers = [0, 1, -1, 2**63 - 1, -(2**63), 2**40, chance.randrange(1000)]
                struct.pack_into("<q", data, place // 8 * 8, chance.choice(numbers))
            case 3:
                data[place:place] = chance.randbytes(8)
            case 4:
                del data[place + 1 :]
    return bytes(data)
