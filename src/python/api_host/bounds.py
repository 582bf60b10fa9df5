"""What a body may be made of, whatever its form: rows, columns, nesting, strings."""

import re
from collections.abc import Iterable, Sized

import msgspec

from api_host.problems import (
    INVALID_BODY,
    STRING_TOO_LONG,
    TOO_MANY_COLUMNS,
    Problem,
    too_many_rows,
)

LEAST_DEPTH = 8
"""The forms that are read without a look at their nesting have less."""

LEAST_CHARACTERS = 1024
"""The names that are read without a look at their length have no more."""

_ESCAPE = re.compile(rb"\\(?:u[0-9a-fA-F]{4}|.)", re.DOTALL)
_ALIKE = bytes.maketrans(b"{}", b"[]")
_OTHERS = bytes(set(range(256)).difference(b'"[]{}'))


class Bounds(msgspec.Struct, frozen=True):
    """What a body may have at most.

    `rows`: in it, or in a message of a stream.
    `columns`: of a table; a model that takes more may be given as many.
    `depth`: of arrays and objects in JSON within each other.
    `characters`: of a string, also of one that is a name.
    """

    rows: int = 100_000
    columns: int = 10_000
    depth: int = 64
    characters: int = 65_536

    def fitting(self, columns: int) -> "Bounds":
        """The same for a model that takes so many columns."""
        if columns <= self.columns:
            return self
        return msgspec.structs.replace(self, columns=columns)

    def check_rows(self, count: int) -> None:
        """Raises `Problem` if there are more rows."""
        if count > self.rows:
            raise too_many_rows(count, self.rows)

    def check_columns(self, count: int) -> None:
        """Raises `Problem` if there are more columns."""
        if count > self.columns:
            detail = f"the body has {count} columns, and may have {self.columns}"
            raise Problem(TOO_MANY_COLUMNS, detail)

    def check_strings(self, values: Iterable[object]) -> None:
        """Raises `Problem` if one of these values is a longer string, or as many bytes."""
        longest = max((len(each) for each in values if isinstance(each, str | bytes)), default=0)
        if longest > self.characters:
            raise self._too_long(longest)

    def check_json(self, text: bytes) -> None:
        """Raises `Problem` if JSON is nested more deeply, or has a longer string.

        What is no JSON may pass: whoever reads it says so.
        """
        is_long = len(text) > self.characters
        is_deep = text.count(b"[") + text.count(b"{") > self.depth
        if not is_long and not is_deep:
            return
        if b"\\" in text:
            text = _ESCAPE.sub(b"_", text)
        if is_deep and (depth := _depth(text)) > self.depth:
            detail = f"the body is nested too deeply: {self.depth} levels are the most"
            raise Problem(INVALID_BODY, f"{detail}, and it has {depth}")
        if is_long and (longest := _longest(text, self.characters)) > self.characters:
            raise self._too_long(longest)

    def _too_long(self, characters: int) -> Problem:
        detail = f"a string has {characters} characters, and may have {self.characters}"
        return Problem(STRING_TOO_LONG, detail)


def widest(values: object) -> int:
    """How many columns a value of JSON has: one of arrays by name, or rows."""
    if isinstance(values, dict):
        return len(values)
    if isinstance(values, list):
        return max((len(row) for row in values if isinstance(row, dict | list)), default=1)
    return 1


def _depth(text: bytes) -> int:
    """How many arrays and objects are open at most at a time, of JSON without escapes."""
    # Imported here: bodies are read before there is a model, which alone needs numpy.
    import numpy as np  # noqa: PLC0415

    marks = np.frombuffer(text.translate(_ALIKE, _OTHERS), np.uint8)
    quotes = marks == ord('"')
    steps = (marks == ord("[")).astype(np.int8) - (marks == ord("]")).astype(np.int8)
    if quotes.any():
        # What follows an odd number of quotes is in a string.
        steps *= 1 - (np.cumsum(quotes, dtype=np.int32) & 1).astype(np.int8)
    return int(np.cumsum(steps, dtype=np.int32).max(initial=0))


def _longest(text: bytes, most: int) -> int:
    """How many characters the longest string has, of JSON without escapes; 0 if at most `most`."""
    import numpy as np  # noqa: PLC0415 - see above

    quotes = np.flatnonzero(np.frombuffer(text, np.uint8) == ord('"'))
    starts = quotes[::2][: len(quotes) // 2] + 1
    ends = quotes[1::2]
    long = ends - starts > most
    strings: Iterable[Sized] = (
        text[start:end].decode(errors="replace")
        for start, end in zip(starts[long].tolist(), ends[long].tolist(), strict=True)
    )
    return max(map(len, strings), default=0)
