"""The way of predictions to a model: a bounded queue, and one call for all that wait in it."""

import asyncio
from collections import deque
from collections.abc import Sequence
from concurrent.futures import Executor
from contextlib import suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any
from weakref import WeakKeyDictionary

from api_host import metrics
from api_host.catalog import Served
from api_host.problems import OVERLOADED, Problem

if TYPE_CHECKING:  # Pandas takes a second to import: not before this host answers.
    from api_host.table import Table

QUICK_SECONDS = 0.0005
"""A call that takes less than this is made at once: a queue and a thread would cost as much."""

RETRY_SECONDS = 1


@dataclass(frozen=True)
class Limits:
    """What one model may be asked at a time.

    `waiting`: how many requests may wait for it.
    `rows`: how many rows of several requests are given to it in one call.
    """

    waiting: int
    rows: int


@dataclass(frozen=True, eq=False)
class _Waiting:
    table: "Table"
    predictions: asyncio.Future[Any]


class Lane:
    """The way to one model version.

    Of requests that wait, those with few rows are answered by one call, one call at a time; one
    with many rows has a call of its own, so that the others do not wait for it.
    """

    def __init__(self, served: Served, limits: Limits, threads: Executor) -> None:
        self._model = served.model
        self._name = served.version.name
        self._limits = limits
        self._threads = threads
        self._small: deque[_Waiting] = deque()
        self._large: deque[_Waiting] = deque()
        self._working: dict[int, asyncio.Task[None]] = {}

    def predict_now(self, table: "Table") -> Any:
        """The predictions, if they take so little time that nobody need wait; else None."""
        if self._model.seconds(len(table)) >= QUICK_SECONDS:
            return None
        # The original may take any time for rows that are not for the engine.
        return self._model.engines.ask_engine(table)

    async def predict(self, table: "Table") -> Any:
        """The predictions, in turn. Raises `Problem`, and what the model raises.

        Who stops waiting is not computed for any more, unless it has begun.
        """
        waiting = len(self._small) + len(self._large)
        if waiting >= self._limits.waiting:
            metrics.REFUSED.labels(self._name).inc()
            raise Problem(
                OVERLOADED,
                f"{waiting} requests wait for {self._name}, and more may not: ask again later",
                retry_after=RETRY_SECONDS,
            )
        item = _Waiting(table, asyncio.get_running_loop().create_future())
        queue = self._large if len(table) >= self._limits.rows else self._small
        queue.append(item)
        if id(queue) not in self._working:
            self._working[id(queue)] = asyncio.create_task(self._work_off(queue))
        try:
            return await item.predictions
        except asyncio.CancelledError:
            with suppress(ValueError):  # It is being computed already.
                queue.remove(item)
            raise

    async def _work_off(self, queue: deque[_Waiting]) -> None:
        while batch := self._next(queue):
            await self._answer(batch)
        del self._working[id(queue)]

    def _next(self, queue: deque[_Waiting]) -> list[_Waiting]:
        """The requests of the next call: the first that waits, and as many as go with it."""
        batch: list[_Waiting] = []
        room = self._limits.rows
        while queue and (not batch or (self._model.joins and len(queue[0].table) <= room)):
            batch.append(queue.popleft())
            room -= len(batch[-1].table)
        return batch

    async def _answer(self, batch: Sequence[_Waiting]) -> None:
        # Imported here, where a model is loaded already.
        from api_host.batches import predict_all  # noqa: PLC0415

        loop = asyncio.get_running_loop()
        tables = [item.table for item in batch]
        metrics.BATCHES.labels(self._name).observe(len(batch))
        answers: Sequence[Any]
        try:
            answers = await loop.run_in_executor(self._threads, predict_all, self._model, tables)
        except Exception as error:  # noqa: BLE001 - whoever waits is to know of whatever it was
            answers = [error] * len(batch)
        for item, answer in zip(batch, answers, strict=True):
            if item.predictions.done():
                continue
            if isinstance(answer, Exception):
                item.predictions.set_exception(answer)
            else:
                item.predictions.set_result(answer)


class Lanes:
    """The lanes of all models that are in memory."""

    def __init__(self, limits: Limits, threads: Executor) -> None:
        self._limits = limits
        self._threads = threads
        self._lanes: WeakKeyDictionary[Served, Lane] = WeakKeyDictionary()

    def of(self, served: Served) -> Lane:
        """The lane of a model."""
        lane = self._lanes.get(served)
        if lane is None:
            lane = self._lanes[served] = Lane(served, self._limits, self._threads)
        return lane
