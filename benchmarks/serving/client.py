"""The load: asks one server over many connections, and counts what came back and when.

It is a process of its own that needs only the standard library, so that it takes nothing from what
it measures. A `Plan` in JSON comes on standard input, and what was `Seen` goes to standard output.
"""

import dataclasses
import gc
import json
import os
import select
import socket
import subprocess
import sys
import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

LOOPBACK = "127.0.0.1"
GRACE_SECONDS = 10.0
"""How long what was planned may still take after the end."""

NAP_SECONDS = 0.0001
PIECE = 256 * 1024
OK = 200
REFUSALS = (429, 503)


@dataclass(frozen=True)
class Plan:
    """What to ask, and how.

    `port`, `path`: whom, on the loopback address.
    `bodies`: what is sent, in turn; where it is empty, the path is asked with GET.
    `answers`: the right predictions of each body.
    `answers_in`: where an answer has them: "predictions", "outputs" (Open Inference Protocol),
        "list" (it is a list), or "" where any answer of 200 is right.
    `connections`: how many are kept open.
    `seconds`: for how long requests are started.
    `rate`: how many are started a second, whatever became of the others (open loop); None: each
        connection asks again as soon as it was answered (closed loop).
    `patience`: how many seconds a request waits for a free connection before it is given up.
    `core`: the processor that this client runs on.
    """

    port: int
    path: str
    bodies: tuple[str, ...]
    answers: tuple[tuple[str, ...], ...]
    answers_in: str
    connections: int
    seconds: float
    rate: float | None = None
    patience: float = float("inf")
    core: int | None = None


@dataclass(frozen=True)
class Seen:
    """What became of the requests. Latencies are seconds from the moment that was planned.

    `good`: latencies of the right answers.
    `refused`: latencies of 429 and 503.
    `wrong`: how many answers of 200 held other predictions.
    `failed`: how many got another status, a broken connection or nothing at all.
    `given_up`: how many found no free connection in time and were not sent.
    `seconds`: from the beginning to the last answer, or for as long as requests were started.
    `busy`: the share of a processor that this client took.
    `fault`: the first thing that was wrong, for a person.
    """

    good: tuple[float, ...]
    refused: tuple[float, ...]
    wrong: int
    failed: int
    given_up: int
    seconds: float
    busy: float
    fault: str = ""

    @property
    def answered(self) -> int:
        """How many were answered by the server at all."""
        return len(self.good) + len(self.refused) + self.wrong


def start(plan: Plan) -> "subprocess.Popen[str]":
    """Starts the client as a process."""
    client = subprocess.Popen(
        [sys.executable, __file__], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    assert client.stdin is not None  # noqa: S101
    client.stdin.write(json.dumps(dataclasses.asdict(plan)))
    client.stdin.close()
    client.stdin = None
    return client


def finish(client: "subprocess.Popen[str]") -> Seen:
    """What it saw, once it has ended."""
    output, _ = client.communicate()
    if client.returncode != 0:
        raise RuntimeError(f"the client ended with exit code {client.returncode}")
    found = json.loads(output)
    return Seen(**{**found, "good": tuple(found["good"]), "refused": tuple(found["refused"])})


def run(plan: Plan) -> Seen:
    """Carries out a plan in a process of its own."""
    return finish(start(plan))


def arrivals(rate: float, start: float, end: float, already: int) -> tuple[list[float], int]:
    """The moments after the first `already` that a constant rate has from `start` until `end`.

    Also how many there have been now.
    """
    moments = []
    while (moment := start + already / rate) < end:
        moments.append(moment)
        already += 1
    return moments, already


class _Connection:
    """One connection, and the request that is on it."""

    def __init__(self, port: int) -> None:
        self.socket = socket.create_connection((LOOPBACK, port))
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.socket.setblocking(False)
        self.number = self.socket.fileno()
        self.planned: float | None = None
        self.which = 0
        self.unsent = memoryview(b"")
        self.received = bytearray()

    def ask(self, request: bytes, which: int, planned: float) -> None:
        """Begins a request."""
        self.planned, self.which = planned, which
        self.unsent = memoryview(request)
        self.received.clear()
        self.send()

    def send(self) -> None:
        """Sends as much as the socket takes."""
        try:
            while self.unsent:
                self.unsent = self.unsent[self.socket.send(self.unsent) :]
        except BlockingIOError:
            pass

    def receive(self) -> "_Answer | None":
        """The answer, once it is whole. Raises `ConnectionError` where it cannot become so."""
        try:
            piece = self.socket.recv(PIECE)
        except BlockingIOError:
            return None
        if not piece:
            raise ConnectionError("the server closed a connection")
        self.received += piece
        return parse(self.received)


@dataclass(frozen=True)
class _Answer:
    status: int
    body: bytes
    is_last: bool


def parse(received: bytes | bytearray) -> _Answer | None:
    """An HTTP/1.1 answer, or None as long as it is not whole."""
    end = received.find(b"\r\n\r\n")
    if end < 0:
        return None
    head, begin = bytes(received[:end]).lower(), end + 4
    body = (
        _chunks(received, begin)
        if b"\r\ntransfer-encoding: chunked" in head
        else _measured(received, begin, head)
    )
    if body is None:
        return None
    return _Answer(int(head[9:12]), body, b"\r\nconnection: close" in head)


def _measured(received: bytes | bytearray, begin: int, head: bytes) -> bytes | None:
    name = b"\r\ncontent-length:"
    at = head.find(name)
    length = int(head[at + len(name) :].split(b"\r\n", 1)[0]) if at >= 0 else 0
    return bytes(received[begin : begin + length]) if len(received) >= begin + length else None


def _chunks(received: bytes | bytearray, begin: int) -> bytes | None:
    whole = b""
    while (line := received.find(b"\r\n", begin)) >= 0:
        size = int(received[begin:line].split(b";")[0], 16)
        begin = line + 2 + size + 2
        if len(received) < begin:
            return None
        if size == 0:
            return whole
        whole += received[line + 2 : line + 2 + size]
    return None


def predictions(body: bytes, where: str) -> Any:
    """The predictions that an answer holds; see `Plan.answers_in`."""
    document = json.loads(body)
    match where:
        case "predictions":
            return document["predictions"]
        case "outputs":
            return document["outputs"][0]["data"]
        case _:
            return document


class Load:
    """A plan being carried out."""

    def __init__(self, plan: Plan, clock: Callable[[], float] = time.perf_counter) -> None:
        self._plan = plan
        self._clock = clock
        self._requests = _requests(plan)
        self._next = 0
        self._poller = select.epoll()
        self._connections: dict[int, _Connection] = {}
        self._free: deque[_Connection] = deque()
        self._waiting: deque[float] = deque()
        self._right: set[tuple[int, bytes]] = set()
        self._good: list[float] = []
        self._refused: list[float] = []
        self._wrong = self._failed = self._given_up = self._planned = 0
        self._last = 0.0
        self._fault = ""
        for _ in range(plan.connections):
            self._connect()

    def run(self) -> Seen:
        """Asks for as long as planned, and waits for what is in flight then."""
        cpu, begin = time.process_time(), self._clock()
        self._begin, self._end = begin, begin + self._plan.seconds
        while (now := self._clock()) < self._end:
            self._plan_requests(now)
            self._start_requests(now)
            self._poll(self._pause(now))
        if self._plan.rate is not None:
            self._plan_requests(self._end)
        # What was planned is asked all the same: left out, the longest waits would not count.
        while (now := self._clock()) < self._end + GRACE_SECONDS:
            self._start_requests(now)
            if len(self._free) == len(self._connections):
                break
            self._poll(0.1)
        elapsed = self._clock() - begin
        unanswered = sum(each.planned is not None for each in self._connections.values())
        if unanswered:
            self._note(f"{unanswered} requests were not answered within {GRACE_SECONDS:g} s")
        return Seen(
            good=tuple(self._good),
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

    def _judge(self, connection: _Connection, answer: _Answer) -> None:
        now, planned = self._clock(), connection.planned
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

    def _lose(self, connection: _Connection, error: Exception) -> None:
        if connection.planned is not None:
            self._failed += 1
            self._note(f"{type(error).__name__}: {error}")
        elif connection in self._free:
            self._free.remove(connection)
        self._drop(connection)
        self._connect()

    def _connect(self) -> None:
        connection = _Connection(self._plan.port)
        self._poller.register(connection.number, select.EPOLLIN)
        self._connections[connection.number] = connection
        self._free.append(connection)

    def _drop(self, connection: _Connection) -> None:
        self._poller.unregister(connection.number)
        del self._connections[connection.number]
        connection.socket.close()

    def _note(self, fault: str) -> None:
        self._fault = self._fault or fault


def _requests(plan: Plan) -> list[bytes]:
    host = f"Host: {LOOPBACK}:{plan.port}\r\n"
    if not plan.bodies:
        return [f"GET {plan.path} HTTP/1.1\r\n{host}\r\n".encode()]
    head = f"POST {plan.path} HTTP/1.1\r\n{host}Content-Type: application/json\r\n"
    encoded = [body.encode() for body in plan.bodies]
    return [f"{head}Content-Length: {len(body)}\r\n\r\n".encode() + body for body in encoded]


def main() -> None:
    """Carries out the plan of standard input."""
    plan = Plan(**json.load(sys.stdin))
    if plan.core is not None:
        os.sched_setaffinity(0, {plan.core})
    gc.disable()  # Nothing here makes cycles, and a collection would look like a slow answer.
    json.dump(dataclasses.asdict(Load(plan).run()), sys.stdout)


if __name__ == "__main__":
    main()
