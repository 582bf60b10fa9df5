"""A request's body as it arrives: a little of it is held, the rest waits at its client."""

import asyncio
from collections.abc import AsyncIterator
from types import TracebackType
from typing import Self

from starlette.requests import ClientDisconnect

KIBIBYTE = 1024

READ_AHEAD_BYTES = 256 * KIBIBYTE
"""How much of a body is read before anybody asks for it."""


class Feed:
    """The bytes of a body in order; `async with` reads ahead until the block ends.

    `buffer`: what has arrived and was not taken.
    `ended`: whether nothing more will arrive.
    """

    def __init__(self, pieces: AsyncIterator[bytes]) -> None:
        self.buffer = bytearray()
        self.ended = False
        self._pieces = pieces
        self._limit = READ_AHEAD_BYTES
        self._gone: ClientDisconnect | None = None
        self._forgotten = False
        self._changed = asyncio.Condition()

    async def __aenter__(self) -> Self:
        self._reading = asyncio.create_task(self._read())
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._reading.cancel()
        await asyncio.wait([self._reading])

    async def more(self) -> None:
        """Waits until more is here than now, or nothing more will come.

        Raises Starlette's own error if the client went away.
        """
        size = len(self.buffer)
        await self.allow(size + 1)
        async with self._changed:
            await self._changed.wait_for(
                lambda: len(self.buffer) > size or self.ended or self._gone is not None
            )
        if self._gone is not None:
            raise self._gone

    async def take(self, size: int) -> bytes:
        """The first bytes of those that are here."""
        taken = bytes(self.buffer[:size])
        del self.buffer[:size]
        await self.allow(READ_AHEAD_BYTES)
        return taken

    async def allow(self, size: int) -> None:
        """Lets `size` bytes be held, or what is usual if that is more."""
        async with self._changed:
            self._limit = max(size, READ_AHEAD_BYTES)
            self._changed.notify_all()

    async def forget(self, seconds: float) -> None:
        """Throws away what is here and what still comes; waits so long for the end of it."""
        async with self._changed:
            self._forgotten = True
            self.buffer.clear()
            self._changed.notify_all()
        await asyncio.wait([self._reading], timeout=seconds)

    async def _read(self) -> None:
        try:
            async for piece in self._pieces:
                if self._forgotten:
                    continue
                async with self._changed:
                    self.buffer += piece
                    self._changed.notify_all()
                    await self._changed.wait_for(self._has_room)
            self.ended = True
        except ClientDisconnect as error:
            self._gone = error
        async with self._changed:
            self._changed.notify_all()

    def _has_room(self) -> bool:
        return self._forgotten or len(self.buffer) < self._limit
