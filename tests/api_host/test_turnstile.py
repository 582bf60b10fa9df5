"""The way in: who waits, for how long, and who comes after whom."""

import asyncio

import pytest

from api_host.http.turnstile import Turnstile

pytestmark = pytest.mark.anyio


async def turns(turnstile: Turnstile, entered: list[int], name: int) -> None:
    await turnstile.enter()
    entered.append(name)


async def test_so_many_go_in_at_each_turn_in_the_order_in_which_they_came() -> None:
    turnstile, entered, seen = Turnstile(3), list[int](), list[int]()
    tasks = [asyncio.create_task(turns(turnstile, entered, name)) for name in range(10)]
    while len(entered) < 10:
        await asyncio.sleep(0)
        seen.append(len(entered))
    await asyncio.gather(*tasks)
    assert entered == list(range(10))
    steps = [after - before for before, after in zip([0, *seen], seen, strict=False)]
    assert max(steps) == 3


async def test_a_few_do_not_wait() -> None:
    turnstile = Turnstile(3)
    for _ in range(3):
        with pytest.raises(StopIteration):
            turnstile.enter().send(None)


async def test_who_went_away_takes_nobody_s_turn() -> None:
    turnstile, entered = Turnstile(1), list[int]()
    tasks = [asyncio.create_task(turns(turnstile, entered, name)) for name in range(5)]
    await asyncio.sleep(0)
    tasks[1].cancel()
    tasks[2].cancel()
    await asyncio.wait(tasks)
    assert entered == [0, 3, 4]
