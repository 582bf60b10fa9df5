"""Holds callers to what they may ask."""

import asyncio
import math
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from functools import cached_property, lru_cache

import structlog

from api_host import metrics
from api_host.auth.caller import Caller, Rates
from api_host.problems import TOO_MANY_REQUESTS, UNAUTHENTICATED, Problem
from api_host.rates.addresses import ADDRESS, counted
from api_host.rates.counters import Counter
from api_host.rates.presence import Presence
from api_host.rates.windows import Quota

SECOND, MINUTE, HOUR = 1, 60, 3600

CONCURRENT = "concurrent"
RETRY_SECONDS = 1

QUIET_SECONDS = 60
"""How long it is not logged again that a caller was refused."""

MOST_LOGGED = 1000

_log = structlog.get_logger("api_host.rates")


@dataclass(frozen=True)
class Quotas:
    """What one caller may use; None: as much as they like.

    `policy`: the same for clients, as the header `RateLimit-Policy`.
    """

    requests: Quota | None
    rows: Quota | None
    trainings: Quota | None
    concurrent: int | None

    @cached_property
    def policy(self) -> bytes:
        """Those that hold for every request, by the draft of the RateLimit headers."""
        items = [
            f'"{quota.name}";q={quota.amount};w={quota.seconds}'
            for quota in (self.requests, self.rows)
            if quota
        ]
        if self.concurrent:
            items.append(f'"{CONCURRENT}";q={self.concurrent};qu="concurrent-requests"')
        return ", ".join(items).encode()


class Limiter:
    """Holds callers to what they may ask.

    `rates`: what holds for callers that have none of their own.
    `guesses`: how often an address may be wrong about who it is, a minute; None: always.
    """

    def __init__(
        self, rates: Rates, guesses: int | None, counter: Counter, presence: Presence
    ) -> None:
        self.counter = counter
        self.presence = presence
        self._rates = rates
        self._guesses = _quota("guesses", guesses, MINUTE)
        self._quotas = lru_cache(1000)(self._quotas_of)
        self._logged: dict[str, float] = {}

    def visit(self, caller: Caller) -> "Visit":
        """A request of a caller, which has yet to enter."""
        return Visit(self, counted(caller.name), self._quotas(caller.rates))

    @asynccontextmanager
    async def refuse_guesses(self, address: str) -> AsyncIterator[None]:
        """Counts where it is refused in the block who an address says it is.

        Raises `Problem` before the block where that was too often of late.
        """
        quota, name = self._guesses, counted(f"{ADDRESS}{address}")
        if quota is None:
            yield
            return
        window = await self.counter.window(quota, name)
        if not window.left(quota):
            seconds = window.seconds_until(1, quota)
            raise self.refusal(name, quota.name, quota.amount, quota.seconds, seconds)
        try:
            yield
        except Problem as problem:
            if problem.kind is UNAUTHENTICATED:
                await self.counter.use(quota, name, 1)
            raise

    def refusal(
        self, caller: str, what: str, most: int, window: int | None, seconds: float
    ) -> Problem:
        """What is said to a caller who asks too much, and is noted.

        `window`: seconds within which there may be `most`; None: at once.
        `seconds`: after which it may be asked again.
        """
        metrics.REFUSED_REQUESTS.labels(what).inc()
        self._log_once(caller, what)
        span = {None: "at once", SECOND: "a second", MINUTE: "a minute", HOUR: "an hour"}[window]
        noun = "requests" if what == CONCURRENT else what
        return Problem(
            TOO_MANY_REQUESTS,
            f"{caller} may have {most} {noun} {span}, and has asked for more",
            retry_after=max(RETRY_SECONDS, math.ceil(seconds)),
        )

    def _quotas_of(self, own: Rates) -> Quotas:
        every = self._rates

        def either(mine: int | None, others: int | None) -> int | None:
            return others if mine is None else mine

        return Quotas(
            _quota("requests", either(own.requests, every.requests), SECOND),
            _quota("rows", either(own.rows, every.rows), SECOND),
            _quota("trainings", either(own.trainings, every.trainings), HOUR),
            either(own.concurrent, every.concurrent) or None,
        )

    def _log_once(self, caller: str, what: str) -> None:
        now = time.monotonic()
        if now < self._logged.get(caller, 0.0):
            return
        if len(self._logged) >= MOST_LOGGED:
            self._logged.clear()
        self._logged[caller] = now + QUIET_SECONDS
        _log.warning("caller refused", caller=caller, limit=what)


class Visit:
    """A request of a caller, from when it comes to when it is answered.

    `caller`: the name by which it is counted.
    """

    def __init__(self, limiter: Limiter, caller: str, quotas: Quotas) -> None:
        self.caller = caller
        self._limiter = limiter
        self._quotas = quotas
        self._left: dict[str, str] = {}
        self._is_inside = False

    async def enter(self) -> None:
        """Counts the request. Raises `Problem`."""
        if self._quotas.requests:
            await self._use(self._quotas.requests, 1)
        most = self._quotas.concurrent
        if most:
            left = self._limiter.presence.enter(self.caller, most)
            self._is_inside = left >= 0
            if not self._is_inside:
                self._left[CONCURRENT] = f'"{CONCURRENT}";r=0'
                raise self._limiter.refusal(self.caller, CONCURRENT, most, None, RETRY_SECONDS)

    def leave(self) -> None:
        """Says that it is answered."""
        if self._is_inside:
            self._is_inside = False
            self._limiter.presence.leave(self.caller)

    async def use_rows(self, count: int) -> None:
        """Counts rows. Raises `Problem`. What has more than a whole second's, takes that."""
        if self._quotas.rows:
            await self._use(self._quotas.rows, min(count, self._quotas.rows.amount))

    async def wait_for_rows(self, count: int) -> None:
        """Counts rows as soon as there may be so many."""
        quota = self._quotas.rows
        if not quota:
            return
        counter, amount = self._limiter.counter, min(count, quota.amount)
        use = await counter.use(quota, self.caller, amount)
        while not use.may:
            await asyncio.sleep(max(0.01, use.window.seconds_until(amount, quota)))
            use = await counter.use(quota, self.caller, amount)

    @asynccontextmanager
    async def training(self) -> AsyncIterator["Start"]:
        """Counts a training, which is given back where none is started."""
        quota = self._quotas.trainings
        start = Start(None)
        if quota is None:
            yield start
            return
        try:
            await self._use(quota, 1)
        except Problem as problem:
            start.refusal = problem
        try:
            yield start
        finally:
            if not start.started and start.refusal is None:
                await self._limiter.counter.use(quota, self.caller, -1)

    def fields(self) -> list[tuple[bytes, bytes]]:
        """The headers that tell a client what it may ask, and how much of it is left."""
        policy = self._quotas.policy
        found = [(b"ratelimit-policy", policy)] if policy else []
        if self._left:
            found.append((b"ratelimit", ", ".join(self._left.values()).encode()))
        return found

    async def _use(self, quota: Quota, amount: int) -> None:
        may, window = await self._limiter.counter.use(quota, self.caller, amount)
        left = window.left(quota)
        # A second is the shortest that is told.
        seconds = 1 if quota.seconds == 1 else window.seconds_until(left + 1, quota)
        shown = min(max(1, math.ceil(seconds)), quota.seconds)
        self._left[quota.name] = f'"{quota.name}";r={left};t={shown}'
        if not may:
            wait = max(window.seconds_until(left + 1, quota), window.seconds_until(amount, quota))
            raise self._limiter.refusal(self.caller, quota.name, quota.amount, quota.seconds, wait)


@dataclass
class Start:
    """A training that is to be started.

    `refusal`: why it may not be: only one that is there already can be told of.
    `started`: whether one was.
    """

    refusal: Problem | None
    started: bool = False


def _quota(name: str, amount: int | None, seconds: int) -> Quota | None:
    return Quota(name, amount, seconds) if amount else None
