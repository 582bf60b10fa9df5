"""What it costs to hold callers to what they may ask.

    ./pants run benchmarks/rates.py -- [--requests 20000] [--processes 1,2] [--redis URL]

For each number of processes, which all count in one file: the processor time and the time that
passes for a request that enters, has its rows counted, is told what is left, and leaves; and the
share of requests that waited for another process longer than a millisecond. With a Redis: the same
with it, for one request after the other.
"""

import asyncio
import multiprocessing
import time
from dataclasses import dataclass
from multiprocessing.pool import Pool
from pathlib import Path
from tempfile import TemporaryDirectory

import click

from api_host.auth.caller import Access, Caller
from api_host.rates.running import limiting
from api_host.settings import ApiSettings
from hostkit.cli import HostCommand

CALLERS = 50
ROWS = 8
MICROSECONDS = 1e6
LONG_SECONDS = 0.001


@dataclass(frozen=True)
class Cost:
    """Of a request, in seconds.

    `processor`, `passed`: the mean.
    `late`: the share of requests that took longer than a millisecond.
    """

    processor: float
    passed: float
    late: float


@click.command(cls=HostCommand, context_settings={"show_default": True})
@click.option("--requests", type=click.IntRange(100), default=20_000)
@click.option("--processes", type=click.IntRange(1, 64), multiple=True, default=(1, 2))
@click.option("--redis", help="Count in this Redis too.")
def main(requests: int, processes: tuple[int, ...], redis: str | None) -> None:
    """What it costs to hold callers to what they may ask."""
    click.echo("counted in        processes  processor us  passed us  over 1 ms")
    for count in processes:
        _show("a file", count, _measure(count, requests, None))
        if redis:
            _show("Redis", count, _measure(count, max(100, requests // 20), redis))


def _show(where: str, count: int, cost: Cost) -> None:
    processor, passed = cost.processor * MICROSECONDS, cost.passed * MICROSECONDS
    click.echo(f"{where:16}  {count:9}  {processor:12.1f}  {passed:9.1f}  {cost.late:9.3%}")


def _measure(count: int, requests: int, redis: str | None) -> Cost:
    context = multiprocessing.get_context("spawn")
    with TemporaryDirectory() as folder, Pool(count, context=context) as pool:
        pool.map(_warm_up, range(count * 4))
        costs = pool.starmap(_work, [(folder, requests, redis)] * count, chunksize=1)
    return Cost(
        sum(cost.processor for cost in costs) / count,
        sum(cost.passed for cost in costs) / count,
        sum(cost.late for cost in costs) / count,
    )


def _warm_up(_: int) -> None:
    time.sleep(0.05)  # So that each process takes some: all have imported what they need then.


def _work(folder: str, requests: int, redis: str | None) -> Cost:
    settings = ApiSettings.model_validate(
        {
            "RUNTIME_DIRECTORY": Path(folder),
            "API_RATE_REQUESTS": 10**9,
            "API_RATE_ROWS": 10**9,
            "API_RATES_URL": redis,
        }
    )
    return asyncio.run(_ask(settings, requests))


async def _ask(settings: ApiSettings, requests: int) -> Cost:
    callers = [Caller(f"key:caller-{number}", frozenset(Access)) for number in range(CALLERS)]
    late = 0
    async with limiting(settings) as limiter:
        begin, processor = time.perf_counter(), time.process_time()
        for number in range(requests):
            start = time.perf_counter()
            visit = limiter.visit(callers[number % CALLERS])
            await visit.enter()
            await visit.use_rows(ROWS)
            visit.fields()
            visit.leave()
            late += time.perf_counter() - start > LONG_SECONDS
        return Cost(
            (time.process_time() - processor) / requests,
            (time.perf_counter() - begin) / requests,
            late / requests,
        )


if __name__ == "__main__":
    main()
