"""What all streams of rows have in common, whatever their form."""

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any, Protocol, TypeAlias

from numpy.typing import NDArray

from api_host.bounds import Bounds
from api_host.problems import SLOW_BODY, Problem
from api_host.table import Table

CHUNK_ROWS = 1_000
"""Most rows that are predicted and answered at once."""


@dataclass(frozen=True)
class Limits:
    """What a piece of a stream may be. The stream itself may have any length.

    `bytes`: of a line or a message.
    `seconds`: within which each must arrive.
    `bounds`: of what is in it.
    """

    bytes: int
    seconds: float
    bounds: Bounds

    @property
    def chunk_rows(self) -> int:
        """How many rows are predicted and answered at once."""
        return min(CHUNK_ROWS, self.bounds.rows)


class Chunk(Protocol):
    """Some rows in a row."""

    def __len__(self) -> int:
        """How many."""

    def table(self, start: int, stop: int) -> Table:
        """Some of them, checked. Raises `Problem`; of a single row, with pointers into it."""


class Reader(Protocol):
    """Reads a form of stream."""

    def chunks(self) -> AsyncIterator[Chunk]:
        """The rows, at most `chunk_rows` at once. Raises `Problem` where nothing can follow."""


@dataclass(frozen=True)
class Predicted:
    """The predictions of rows in a row, one a row."""

    values: NDArray[Any]

    def __len__(self) -> int:
        return len(self.values)


@dataclass(frozen=True)
class Refused:
    """A row that cannot be predicted."""

    problem: Problem

    def __len__(self) -> int:
        return 1


Outcome: TypeAlias = Predicted | Refused


class Writer(Protocol):
    """Writes a form of stream."""

    def records(self, first_row: int, outcomes: Sequence[Outcome]) -> bytes:
        """What became of the rows from `first_row` on. Raises `Problem`."""

    def last(self, problem: Problem) -> bytes:
        """Why the stream ends here."""

    def end(self) -> bytes:
        """What comes after all records."""


@asynccontextmanager
async def arriving(what: str, limits: Limits) -> AsyncIterator[None]:
    """Ends what waits for a client that does not send. Raises `Problem`."""
    try:
        async with asyncio.timeout(limits.seconds):
            yield
    except TimeoutError:
        raise Problem(SLOW_BODY, f"{what} was not here after {limits.seconds:g} s") from None
