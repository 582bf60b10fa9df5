"""The way of predictions to a model: a bounded queue, and one call for all that wait in it."""

import asyncio
import math
from collections import OrderedDict, deque
from collections.abc import Callable, Sequence
from concurrent.futures import Executor
from contextlib import suppress
from dataclasses import dataclass, field
from functools import partial
from typing import TYPE_CHECKING, Any
from weakref import WeakKeyDictionary

from api_host import metrics
from api_host.limits import Limits
from api_host.models.catalog import Served
from api_host.problems import OVERLOADED, Problem

if TYPE_CHECKING:  # Pandas takes a second to import: not before this host answers.
    from api_host.table import Table

QUICK_SECONDS = 0.0005
"""A call that takes less than this is made at once: a queue and a thread would cost as much."""

RETRY_SECONDS = 1
MOST_RETRY_SECONDS = 60

RECENT = 0.2
"""How much the last call counts in what calls have taken of late."""

SURE = 0.5
"""The share of its time by which a request is to be answered, by what calls have taken of late.

Under load they take longer: nobody is to wait in vain.
"""


@dataclass(frozen=True, eq=False)
class _Waiting:
    table: "Table"
    caller: str
    predictions: asyncio.Future[Any]


@dataclass(eq=False)
class _Queue:
    """Requests of one kind: callers take turns, and each one's are in the order in which they came.

    `most`: how many rows of several of them go together into one call; 0: each has its own.
    `lines`: those that wait, by their callers; the next turn is the first one's.
    `count`, `rows`: of those that wait.
    `call`: seconds that a call has taken of late.
    """

    most: int
    lines: OrderedDict[str, deque[_Waiting]] = field(default_factory=OrderedDict)
    count: int = 0
    rows: int = 0
    call: float = 0.0
    working: asyncio.Task[None] | None = None

    def add(self, item: _Waiting) -> None:
        line = self.lines.get(item.caller)
        if line is None:
            line = self.lines[item.caller] = deque()
        line.append(item)
        self._counted(item, 1)

    def remove_cancelled(self, item: _Waiting, predictions: asyncio.Future[Any]) -> None:
        if not predictions.cancelled():
            return
        line = self.lines.get(item.caller, deque())
        with suppress(ValueError):  # It is being computed already.
            line.remove(item)
            self._counted(item, -1)
            if not line:
                del self.lines[item.caller]

    def next(self) -> list[_Waiting]:
        """The requests of the next call: the first that waits, and as many as go with it."""
        batch: list[_Waiting] = []
        room = self.most
        while self.lines:
            caller, line = next(iter(self.lines.items()))
            if batch and len(line[0].table) > room:
                break
            item = line.popleft()
            batch.append(item)
            room -= len(item.table)
            self._counted(item, -1)
            if not line:
                del self.lines[caller]
            elif len(self.lines) > 1:
                self.lines.move_to_end(caller)
        return batch

    def longest(self) -> int:
        """How many requests the caller has who has the most."""
        return max(map(len, self.lines.values()), default=0)

    def give_up_newest(self) -> _Waiting:
        """The last request of the caller who has the most, which is not answered any more."""
        item = max(self.lines.values(), key=len).pop()
        self._counted(item, -1)
        return item

    def seconds(self, caller: str) -> float:
        """How long a caller's next will wait for an answer, by what calls took of late."""
        if self.working is None:
            return 0.0  # Nobody is before it: how long it takes is seen when it is asked.
        before = self._before(caller)
        calls = before * self.rows // (self.count * self.most) if before and self.most else before
        return (calls + 1) * self.call

    def _before(self, caller: str) -> int:
        """How many requests come before a caller's next one, as callers take turns."""
        if len(self.lines) <= 1 and caller in self.lines:
            return self.count
        turns = len(self.lines.get(caller, ())) + 1
        return sum(min(len(line), turns) for line in self.lines.values())

    def _counted(self, item: _Waiting, by: int) -> None:
        self.count += by
        self.rows += by * len(item.table)

    def note(self, seconds: float) -> None:
        self.call += (seconds - self.call) * (RECENT if self.call else 1.0)


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
        self._small = _Queue(limits.batch_rows if served.model.joins else 0)
        self._large = _Queue(0)
        self._refused = metrics.REFUSED.labels(self._name)
        self._let_by = 0
        """How many who were refused before are on their way to be looked at, since a call ended."""

    def predict_now(self, table: "Table") -> Any:
        """The predictions, if they take so little time that nobody need wait; else None."""
        if self._model.seconds(len(table)) >= QUICK_SECONDS:
            return None
        # The original may take any time for rows that are not for the engine.
        return self._model.engines.ask_engine(table)

    def predict(
        self, table: "Table", seconds: float = math.inf, *, caller: str = ""
    ) -> "asyncio.Future[Any]":
        """The predictions, in turn; they may also be what the model raises.

        Raises `Problem` at once where more is asked than may be.

        `seconds`: how long they may take: who might wait longer is told so at once.
        `caller`: who asks: those who wait take turns.
        What is cancelled is not computed any more, unless it has begun.
        """
        queue = self._large if len(table) >= self._limits.batch_rows else self._small
        self._let_by = max(self._let_by - 1, 0)
        self._refuse_too_many(queue, seconds, caller)
        predictions = asyncio.get_running_loop().create_future()
        item = _Waiting(table, caller, predictions)
        queue.add(item)
        predictions.add_done_callback(partial(queue.remove_cancelled, item))
        if queue.working is None:
            queue.working = asyncio.create_task(self._work_off(queue))
        return predictions

    def _refuse_too_many(self, queue: _Queue, seconds: float, caller: str) -> None:
        wait = queue.seconds(caller)
        again = partial(self._refuses_again, queue, seconds, caller)
        if wait > seconds * SURE:
            near = f"too near to the {seconds:g} s it may take"
            why = f"{self._name} would answer in {wait:.1f} s, {near}"
            raise self._refusal(why, wait, again)
        if self._count < self._limits.waiting:
            return
        full = f"{self._count} requests wait for {self._name}, and more may not"
        if self._has_the_most(caller):
            raise self._refusal(full, wait, again)
        # Whoever has the most makes room: a newcomer is not to suffer from it.
        longest = self._longest
        given_up = longest.give_up_newest()
        if not given_up.predictions.done():
            refusal = self._refusal(full, longest.seconds(given_up.caller))
            given_up.predictions.set_exception(refusal)

    def _refuses_again(self, queue: _Queue, seconds: float, caller: str) -> bool:
        if queue.working is None:
            return False
        is_late = queue.seconds(caller) + self._let_by * queue.call > seconds * SURE
        is_full = self._count + self._let_by >= self._limits.waiting
        if not is_late and not (is_full and self._has_the_most(caller)):
            self._let_by += 1
            return False
        self._refused.inc()
        return True

    @property
    def _count(self) -> int:
        return self._small.count + self._large.count

    @property
    def _longest(self) -> _Queue:
        return max(self._small, self._large, key=_Queue.longest)

    def _has_the_most(self, caller: str) -> bool:
        own = sum(len(queue.lines.get(caller, ())) for queue in (self._small, self._large))
        return self._longest.longest() <= own + 1

    def _refusal(self, why: str, wait: float, again: Callable[[], bool] | None = None) -> Problem:
        self._refused.inc()
        problem = Problem(
            OVERLOADED,
            f"{why}: ask again later",
            retry_after=min(max(math.ceil(wait), RETRY_SECONDS), MOST_RETRY_SECONDS),
        )
        problem.again = again
        return problem

    async def _work_off(self, queue: _Queue) -> None:
        loop = asyncio.get_running_loop()
        while batch := queue.next():
            begin = loop.time()
            await self._answer(batch)
            self._let_by = 0
            queue.note(loop.time() - begin)
        queue.working = None

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
    """The lanes of all models that are in memory.

    `limits`: gives those of a model by its name.
    """

    def __init__(self, limits: Callable[[str], Limits], threads: Executor) -> None:
        self._limits = limits
        self._threads = threads
        self._lanes: WeakKeyDictionary[Served, Lane] = WeakKeyDictionary()

    def of(self, served: Served) -> Lane:
        """The lane of a model."""
        lane = self._lanes.get(served)
        if lane is None:
            lane = self._lanes[served] = Lane(
                served, self._limits(served.version.name), self._threads
            )
        return lane
