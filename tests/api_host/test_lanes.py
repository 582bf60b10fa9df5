"""The way to a model: what waits, what is answered together, what is refused."""

import asyncio
from collections.abc import AsyncIterator, Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from threading import Event
from typing import Any

import numpy as np
import pytest

from api_host.compiled.engines import Engines
from api_host.lanes import Lane
from api_host.limits import Limits
from api_host.models.catalog import Served
from api_host.models.model import Model, Trial
from api_host.models.registry import ModelVersion
from api_host.problems import OVERLOADED, Problem
from api_host.table import Natural, Table

pytestmark = pytest.mark.anyio


class Gate:
    """A model that gives back what it gets, once it may.

    `calls`: the number of rows of each call.
    `closes`: whether it closes behind each call.
    """

    def __init__(self) -> None:
        self.calls: list[int] = []
        self.closes = False
        self.open = Event()
        self.called = Event()

    def predict(self, natural: Natural) -> Any:
        self.calls.append(len(natural))
        self.called.set()
        assert self.open.wait(30)
        if self.closes:
            self.open.clear()
        if (natural < 0).any():
            raise ValueError("negative")
        return natural[:, 0]


@pytest.fixture
def gate() -> Iterator[Gate]:
    found = Gate()
    yield found
    found.open.set()


@pytest.fixture
async def lane_of(gate: Gate) -> AsyncIterator[Callable[..., Lane]]:
    with ThreadPoolExecutor(4) as threads:

        def make(*, waiting: int = 100, rows: int = 10, joins: bool = True) -> Lane:
            engines = Engines(gate.predict, "it is a gate")
            model = Model(None, None, None, [], Trial(joins=joins, seconds=1.0), engines)
            version = ModelVersion("gate", "1", 0, "")
            served = Served(version, model, None, datetime.now(UTC))
            return Lane(served, Limits(waiting, rows, max_rows=1000, timeout_seconds=60), threads)

        yield make
        gate.open.set()


def table(*values: float) -> Table:
    return Table(np.array([values], dtype=float).T)


async def busy(lane: Lane, gate: Gate) -> asyncio.Future[Any]:
    """Makes the model busy with one request, which is returned."""
    task = lane.predict(table(0))
    assert await asyncio.to_thread(gate.called.wait, 30)
    return task


async def ask(lane: Lane, *tables: Table) -> list[asyncio.Future[Any]]:
    """Requests that wait."""
    tasks = [lane.predict(each) for each in tables]
    await asyncio.sleep(0)
    return tasks


async def test_what_waits_is_answered_by_one_call(lane_of: Callable[..., Lane], gate: Gate) -> None:
    lane = lane_of()
    first = await busy(lane, gate)
    tasks = await ask(lane, table(1), table(2, 3), table(4))
    gate.open.set()
    answers = await asyncio.gather(first, *tasks)
    assert [answer.tolist() for answer in answers] == [[0], [1], [2, 3], [4]]
    assert gate.calls == [1, 4]


async def test_a_call_has_no_more_rows_than_it_may(
    lane_of: Callable[..., Lane], gate: Gate
) -> None:
    lane = lane_of(rows=3)
    first = await busy(lane, gate)
    tasks = await ask(lane, table(1), table(2, 3), table(4), table(5))
    gate.open.set()
    await asyncio.gather(first, *tasks)
    assert gate.calls == [1, 3, 2]


async def test_a_model_that_cannot_is_asked_one_by_one(
    lane_of: Callable[..., Lane], gate: Gate
) -> None:
    lane = lane_of(joins=False)
    first = await busy(lane, gate)
    tasks = await ask(lane, table(1), table(2, 3))
    gate.open.set()
    await asyncio.gather(first, *tasks)
    assert gate.calls == [1, 1, 2]


async def test_a_bad_row_fails_its_own_request_only(
    lane_of: Callable[..., Lane], gate: Gate
) -> None:
    lane = lane_of()
    first = await busy(lane, gate)
    tasks = await ask(lane, table(1), table(-2), table(3))
    gate.open.set()
    with pytest.raises(ValueError, match="negative"):
        await tasks[1]
    assert [(await tasks[index]).tolist() for index in (0, 2)] == [[1], [3]]
    await first


async def test_more_than_may_wait_are_refused_at_once(
    lane_of: Callable[..., Lane], gate: Gate
) -> None:
    lane = lane_of(waiting=2)
    first = await busy(lane, gate)
    tasks = await ask(lane, table(1), table(2))
    with pytest.raises(Problem) as refused:
        await lane.predict(table(3))
    assert refused.value.kind is OVERLOADED
    assert refused.value.headers["Retry-After"] == "1"
    gate.open.set()
    await asyncio.gather(first, *tasks)


async def refused_again(lane: Lane) -> Callable[[], bool]:
    """Asks for what is refused; tells of a further one whether it would be."""
    with pytest.raises(Problem) as raised:
        lane.predict(table(0))
    assert raised.value.again is not None
    return raised.value.again


async def test_the_same_is_refused_again_as_long_as_the_queue_is_full(
    lane_of: Callable[..., Lane], gate: Gate
) -> None:
    lane = lane_of(waiting=1)
    await busy(lane, gate)
    [waiting] = await ask(lane, table(1))
    again = await refused_again(lane)
    assert [again(), again()] == [True, True]
    waiting.cancel()
    await asyncio.sleep(0)
    assert again() is False


async def test_of_the_same_only_as_many_are_looked_at_as_there_is_room_for(
    lane_of: Callable[..., Lane], gate: Gate
) -> None:
    lane = lane_of(waiting=2)
    await busy(lane, gate)
    waiting = await ask(lane, table(1), table(2))
    again = await refused_again(lane)
    for each in waiting:
        each.cancel()
    await asyncio.sleep(0)
    assert [again(), again(), again()] == [False, False, True]
    [arrived] = await ask(lane, table(3))
    assert again() is True
    arrived.cancel()
    await asyncio.sleep(0)
    assert [again(), again()] == [False, True]


async def test_who_was_let_by_and_never_came_keeps_nobody_out_after_the_call(
    lane_of: Callable[..., Lane], gate: Gate
) -> None:
    gate.closes = True
    lane = lane_of(waiting=2, joins=False)
    first = await busy(lane, gate)
    second, third = await ask(lane, table(1), table(2))
    again = await refused_again(lane)
    gate.open.set()
    await first
    assert [again(), again()] == [False, True]
    gate.open.set()
    await second
    assert [again(), again(), again()] == [False, False, True]
    gate.open.set()
    await third
    await asyncio.sleep(0)
    assert [again(), again(), again()] == [False, False, False]


async def test_who_would_wait_too_long_is_refused_at_once_and_told_how_long(
    lane_of: Callable[..., Lane], gate: Gate
) -> None:
    lane = lane_of(joins=False)
    loop = asyncio.get_running_loop()
    begin = loop.time()
    first = await busy(lane, gate)
    later = asyncio.Event()
    loop.call_at(begin + 0.05, later.set)
    await later.wait()
    gate.open.set()
    await first
    gate.open.clear()
    gate.called.clear()
    second = await busy(lane, gate)
    near = r"gate would answer in 0\.\d s, too near to the 0\.08 s it may take"
    with pytest.raises(Problem, match=near) as one:
        await lane.predict(table(1), seconds=0.08)
    assert one.value.kind is OVERLOADED
    (third,) = await ask(lane, table(1))
    gate.open.set()
    await asyncio.gather(second, third)


async def test_one_who_finds_nobody_waiting_is_not_refused_for_how_long_others_took(
    lane_of: Callable[..., Lane], gate: Gate
) -> None:
    lane = lane_of()
    gate.open.set()
    for _ in range(3):
        await lane.predict(table(1), seconds=1e-9)


async def test_what_nobody_waits_for_is_not_computed(
    lane_of: Callable[..., Lane], gate: Gate
) -> None:
    lane = lane_of(waiting=2)
    first = await busy(lane, gate)
    gone, kept = await ask(lane, table(1), table(2, 3))
    gone.cancel()
    await asyncio.wait([gone])
    (late,) = await ask(lane, table(4))
    gate.open.set()
    await asyncio.gather(first, kept, late)
    assert gate.calls == [1, 3]


async def test_a_large_request_keeps_no_small_one_waiting(
    lane_of: Callable[..., Lane], gate: Gate
) -> None:
    lane = lane_of(rows=3)
    large = lane.predict(table(1, 2, 3, 4))
    assert await asyncio.to_thread(gate.called.wait, 30)
    gate.called.clear()
    small = lane.predict(table(5))
    assert await asyncio.to_thread(gate.called.wait, 30)
    gate.open.set()
    await asyncio.gather(large, small)


async def test_the_queue_is_worked_off_again_after_it_was_empty(
    lane_of: Callable[..., Lane], gate: Gate
) -> None:
    lane = lane_of()
    gate.open.set()
    for value in range(20):
        assert (await lane.predict(table(value))).tolist() == [value]


async def test_one_with_a_request_does_not_wait_for_all_of_another(
    lane_of: Callable[..., Lane], gate: Gate
) -> None:
    lane = lane_of(joins=False)
    first = await busy(lane, gate)
    rude = [lane.predict(table(1, 1), caller="rude") for _ in range(50)]
    polite = [lane.predict(table(2), caller="polite") for _ in range(2)]
    gate.open.set()
    await asyncio.gather(first, *rude, *polite)
    assert gate.calls == [1, 2, 1, 2, 1, *[2] * 48]


async def test_requests_of_several_callers_are_answered_by_one_call(
    lane_of: Callable[..., Lane], gate: Gate
) -> None:
    lane = lane_of(rows=4)
    first = await busy(lane, gate)
    rude = [lane.predict(table(value), caller="rude") for value in range(6)]
    polite = lane.predict(table(8), caller="polite")
    gate.open.set()
    answers = await asyncio.gather(first, *rude, polite)
    assert gate.calls == [1, 4, 3]
    assert [answer.tolist() for answer in answers[1:]] == [[0], [1], [2], [3], [4], [5], [8]]


async def test_who_has_the_most_makes_room_for_a_newcomer(
    lane_of: Callable[..., Lane], gate: Gate
) -> None:
    lane = lane_of(waiting=3)
    first = await busy(lane, gate)
    rude = [lane.predict(table(value), caller="rude") for value in (1, 2, 3)]
    polite = lane.predict(table(8), caller="polite")
    with pytest.raises(Problem) as refused:
        await rude[2]
    assert refused.value.kind is OVERLOADED
    with pytest.raises(Problem):
        lane.predict(table(4), caller="rude")
    with pytest.raises(Problem):
        lane.predict(table(9), caller="polite")
    gate.open.set()
    answers = await asyncio.gather(first, *rude[:2], polite)
    assert [answer.tolist() for answer in answers] == [[0], [1], [2], [8]]


async def test_what_nobody_waits_for_makes_room_too(
    lane_of: Callable[..., Lane], gate: Gate
) -> None:
    lane = lane_of(waiting=2)
    first = await busy(lane, gate)
    gone = [lane.predict(table(value), caller="rude") for value in (1, 2)]
    for each in gone:
        each.cancel()
    kept = lane.predict(table(3), caller="polite")
    gate.open.set()
    await asyncio.gather(first, kept)
    await asyncio.wait(gone)
    assert gate.calls == [1, 1]
