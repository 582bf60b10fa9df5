"""The load: asks one server over many connections, and counts what came back and when.

    python -m benchmarks.serving.load

It is a process of its own that needs only the standard library, so that it takes nothing from what
it measures. A `Plan` in JSON comes on standard input, and what was `Seen` goes to standard output.
"""

import dataclasses
import gc
import json
import os
import select
import sys
import time
from collections import deque

from benchmarks.serving.connection import LOOPBACK, Answer, Connection, predictions
from benchmarks.serving.plan import Plan, Seen

GRACE_SECONDS = 10.0
"""How long what was planned may still take after the end."""

NAP_SECONDS = 0.0001
OK = 200
REFUSALS = (429, 503)


class Load:
    """A plan being carried out."""

    def __init__(self, plan: Plan) -> None:
        self._plan = plan
        self._requests = _requests(plan)
        self._next = 0
        self._poller = select.epoll()
        self._connections: dict[int, Connection] = {}
        self._free: deque[Connection] = deque()
        self._waiting: deque[float] = deque()
        self._right: set[tuple[int, bytes]] = set()
        self._good: list[float] = []
        self._due: list[float] = []
        self._refused: list[float] = []
        self._wrong = self._failed = self._given_up = self._planned = 0
        self._last = 0.0
        self._fault = ""
        for _ in range(plan.connections):
            self._connect()
        # Hundreds that are accepted at once would cost the server a part of the time measured.
        for connection in list(self._connections.values()):
            try:
                connection.greet(_get("/", plan.port), GRACE_SECONDS)
            except (OSError, ValueError) as error:
                self._lose(connection, error)

    def run(self) -> Seen:
        """Asks for as long as planned, and waits for what is in flight then."""
        cpu, begin = time.process_time(), time.perf_counter()
        self._begin, self._end = begin, begin + self._plan.seconds
        while (now := time.perf_counter()) < self._end:
            self._plan_requests(now)
            self._start_requests(now)
            self._poll(self._pause(now))
        if self._plan.rate is not None:
            self._plan_requests(self._end)
        # What was planned is asked all the same: left out, the longest waits would not count.
        while (now := time.perf_counter()) < self._end + GRACE_SECONDS:
            self._start_requests(now)
            if len(self._free) == len(self._connections):
                break
            self._poll(0.1)
        elapsed = time.perf_counter() - begin
        unanswered = sum(each.planned is not None for each in self._connections.values())
        if unanswered:
            self._note(f"{unanswered} requests were not answered within {GRACE_SECONDS:g} s")
        return Seen(
            good=tuple(self._good),
            due=tuple(self._due),
            refused=tuple(self._refused),
            wrong=self._wrong,
            failed=self._failed + unanswered,
            given_up=self._given_up + len(self._waiting),
            seconds=max(self._last - begin, self._plan.seconds),
            busy=(time.process_time() - cpu) / elapsed,
            fault=self._fault,
        )

    def _plan_requests(self, now: float) -> None:
        if self._plan.rate is None:
            self._waiting.extend([now] * (len(self._free) - len(self._waiting)))
            return
        until = min(now, self._end)
        moments, self._planned = arrivals(self._plan.rate, self._begin, until, self._planned)
        self._waiting.extend(moments)

    def _start_requests(self, now: float) -> None:
        while self._waiting and self._free:
            self._next = (self._next + 1) % len(self._requests)
            connection = self._free.popleft()
            connection.ask(self._requests[self._next], self._next, self._waiting.popleft())
            if connection.unsent:
                self._poller.modify(connection.number, select.EPOLLIN | select.EPOLLOUT)
        while self._waiting and now - self._waiting[0] > self._plan.patience:
            self._waiting.popleft()
            self._given_up += 1

    def _pause(self, now: float) -> float:
        if self._plan.rate is None or (self._waiting and not self._free):
            return self._end - now
        gap = self._begin + self._planned / self._plan.rate - now
        if gap > 2 * NAP_SECONDS + 0.001:
            return gap - 0.001  # epoll counts in whole milliseconds.
        time.sleep(max(0.0, min(gap, NAP_SECONDS)))
        return 0.0

    def _poll(self, seconds: float) -> None:
        for number, happened in self._poller.poll(max(seconds, 0.0)):
            connection = self._connections[number]
            try:
                if happened & select.EPOLLOUT:
                    connection.send()
                    if not connection.unsent:
                        self._poller.modify(number, select.EPOLLIN)
                if happened & ~select.EPOLLOUT and (answer := connection.receive()):
                    self._judge(connection, answer)
            except (OSError, ValueError) as error:
                self._lose(connection, error)

    def _judge(self, connection: Connection, answer: Answer) -> None:
        now, planned = time.perf_counter(), connection.planned
        if planned is None:
            raise ConnectionError("the server answered what was not asked")
        self._last = now
        if answer.status in REFUSALS:
            self._refused.append(now - planned)
        elif answer.status != OK:
            self._failed += 1
            self._note(f"status {answer.status}: {answer.body[:300]!r}")
        elif self._is_right(connection.which, answer.body):
            self._good.append(now - planned)
            self._due.append(planned)
        else:
            self._wrong += 1
            self._note(f"wrong: {answer.body[:300]!r}")
        connection.planned = None
        if answer.is_last:
            self._drop(connection)
            self._connect()
        else:
            self._free.append(connection)

    def _is_right(self, which: int, body: bytes) -> bool:
        where = self._plan.answers_in
        if not where or (which, body) in self._right:
            return True
        try:
            right = bool(predictions(body, where) == list(self._plan.answers[which]))
        except (ValueError, LookupError, TypeError):
            right = False
        if right:
            self._right.add((which, body))
        return right

    def _lose(self, connection: Connection, error: Exception) -> None:
        if connection.planned is not None:
            self._failed += 1
            self._note(f"{type(error).__name__}: {error}")
        elif connection in self._free:
            self._free.remove(connection)
        self._drop(connection)
        self._connect()

    def _connect(self) -> None:
        connection = Connection(self._plan.port)
        self._poller.register(connection.number, select.EPOLLIN)
        self._connections[connection.number] = connection
        self._free.append(connection)

    def _drop(self, connection: Connection) -> None:
        self._poller.unregister(connection.number)
        del self._connections[connection.number]
        connection.socket.close()

    def _note(self, fault: str) -> None:
        self._fault = self._fault or fault


def _get(path: str, port: int) -> bytes:
    return f"GET {path} HTTP/1.1\r\n{_host(port)}\r\n".encode()


def _host(port: int) -> str:
    return f"Host: {LOOPBACK}:{port}\r\n"


def _requests(plan: Plan) -> list[bytes]:
    if not plan.bodies:
        return [_get(plan.path, plan.port)]
    head = f"POST {plan.path} HTTP/1.1\r\n{_host(plan.port)}Content-Type: application/json\r\n"
    encoded = [body.encode() for body in plan.bodies]
    return [f"{head}Content-Length: {len(body)}\r\n\r\n".encode() + body for body in encoded]


def arrivals(rate: float, start: float, end: float, already: int) -> tuple[list[float], int]:
    """The moments after the first `already` that a constant rate has from `start` until `end`.

    Also how many there have been now.
    """
    moments = []
    while (moment := start + already / rate) < end:
        moments.append(moment)
        already += 1
    return moments, already


def main() -> None:
    """Carries out the plan of standard input."""
    plan = Plan(**json.load(sys.stdin))
    if plan.core is not None:
        os.sched_setaffinity(0, {plan.core})
    gc.disable()  # Nothing here makes cycles, and a collection would look like a slow answer.
    json.dump(dataclasses.asdict(Load(plan).run()), sys.stdout)


if __name__ == "__main__":
    main()
