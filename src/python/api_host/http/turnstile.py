"""The way in: so many requests at a time that nothing else waits long for its turn."""

import asyncio
from collections import deque

MOST = 8
"""How many go in between two looks of the event loop at everything else."""


class Turnstile:
    """Lets a few requests in at each turn of the event loop, in the order in which they came.

    The loop works on all that is there before it looks again: were all requests of some hundred
    connections let in at once, whoever comes next, and health checks, would wait for every one.
    """

    def __init__(self, most: int = MOST) -> None:
        self._most = self._left = most
        self._waiting: deque[asyncio.Future[None]] = deque()

    async def enter(self) -> None:
        """Waits for its turn, if others came before."""
        if self._left and not self._waiting:
            self._left -= 1
            return
        loop = asyncio.get_running_loop()
        if not self._waiting:
            loop.call_soon(self._turn)
        turn = loop.create_future()
        self._waiting.append(turn)
        await turn

    def _turn(self) -> None:
        self._left = self._most
        while self._waiting and self._left:
            turn = self._waiting.popleft()
            if not turn.done():  # Else its connection was closed meanwhile.
                turn.set_result(None)
                self._left -= 1
        if self._waiting:
            asyncio.get_running_loop().call_soon(self._turn)
