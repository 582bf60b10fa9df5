"""The load client, against a server that answers over real connections."""

import json
import socket
import threading
import time
from dataclasses import replace

import pytest
from benchmarks.serving import client
from benchmarks.serving.connection import parse, predictions
from benchmarks.serving.load import arrivals
from benchmarks.serving.plan import Plan, Seen
from hypothesis import given
from hypothesis import strategies as st

from tests.benchmarks.answering import Answer, answering

PLAN = Plan(
    port=0,
    path="/invocations",
    bodies=('["a"]', '["b"]'),
    answers=(("a",), ("b",)),
    answers_in="predictions",
    connections=2,
    seconds=0.3,
)


def echo(body: bytes) -> tuple[int, bytes]:
    return 200, b'{"predictions": ' + body + b"}"


def run(answer: Answer, plan: Plan = PLAN, *, chunked: bool = False) -> Seen:
    with answering(answer, chunked=chunked) as port:
        return client.run(replace(plan, port=port))


@pytest.mark.parametrize("chunked", [False, True])
def test_right_answers_are_counted(*, chunked: bool) -> None:
    seen = run(echo, chunked=chunked)
    assert len(seen.good) > 2
    assert 0.3 <= seen.seconds < 5
    assert (seen.wrong, seen.failed, seen.refused, seen.given_up, seen.fault) == (0, 0, (), 0, "")
    assert all(0 < latency < 5 for latency in seen.good)


def test_another_prediction_is_no_answer() -> None:
    seen = run(lambda _: (200, b'{"predictions": ["b"]}'))
    assert seen.good  # To every second question it is right.
    assert seen.wrong
    assert seen.fault == """wrong: b'{"predictions": ["b"]}'"""


def test_an_answer_that_is_no_json_is_wrong() -> None:
    seen = run(lambda _: (200, b"certainly"))
    assert seen.wrong
    assert not seen.good


def test_refusals_and_errors_are_told_apart() -> None:
    def refuse_a(body: bytes) -> tuple[int, bytes]:
        return (503, b"later") if b"a" in body else (500, b"broken")

    seen = run(refuse_a)
    assert seen.refused
    assert seen.failed
    assert seen.fault == "status 500: b'broken'"
    assert seen.answered == len(seen.refused)


def test_no_time_counts_before_every_connection_is_accepted() -> None:
    greeted: list[float] = []

    def greet(body: bytes) -> tuple[int, bytes]:
        if not body:
            greeted.append(time.perf_counter())
        return echo(body)

    seen = run(greet)
    assert len(greeted) == PLAN.connections
    assert max(greeted) < min(seen.due)


def test_a_constant_rate_is_kept_whatever_becomes_of_the_requests() -> None:
    seen = run(echo, replace(PLAN, rate=50.0, seconds=0.5))
    assert len(seen.good) == 25


def test_latency_counts_from_the_moment_that_was_planned() -> None:
    def slow(body: bytes) -> tuple[int, bytes]:
        time.sleep(0.05)
        return echo(body)

    # Ten can be answered, and twenty are asked for: the last ones wait for a connection.
    seen = run(slow, replace(PLAN, connections=1, rate=40.0, seconds=0.5))
    assert max(seen.good) > 0.4
    assert len(seen.good) == 20
    assert seen.seconds > 0.9  # That is when the last answer came.


def test_without_patience_a_request_that_finds_no_connection_is_given_up() -> None:
    done = threading.Event()

    def wait(body: bytes) -> tuple[int, bytes]:
        done.wait(0.2)
        return echo(body)

    seen = run(wait, replace(PLAN, connections=1, rate=50.0, seconds=0.5, patience=0.0))
    assert seen.given_up
    assert max(seen.good) < 0.5
    assert len(seen.good) + seen.given_up == 25


def test_a_server_that_hangs_up_is_a_failure_and_asked_again() -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:

        def hang_up() -> None:
            for _ in range(5):
                connection, _address = listener.accept()
                connection.recv(1000)
                connection.close()

        thread = threading.Thread(target=hang_up)
        thread.start()
        plan = replace(PLAN, port=listener.getsockname()[1], connections=1, rate=6.0, seconds=0.5)
        seen = client.run(plan)
        # The client has opened one more, which nobody took.
        with socket.create_connection(listener.getsockname()) as last:
            last.sendall(b"x")
            thread.join()
    assert seen.failed == 3
    assert not seen.good


@given(st.floats(1, 1e5), st.floats(0, 1e3), st.lists(st.floats(0, 1), max_size=5))
def test_a_rate_is_kept_however_often_it_is_looked_at(
    rate: float, start: float, looks: list[float]
) -> None:
    seconds = 20 / rate
    planned: list[float] = []
    already = 0
    for look in [*sorted(looks), 1.0]:
        moments, already = arrivals(rate, start, start + look * seconds, already)
        planned += moments
    at_once, _ = arrivals(rate, start, start + seconds, 0)
    assert planned == at_once
    assert len(planned) in (20, 21)  # What is on the edge may be rounded to either side.


@given(st.binary(max_size=50), st.integers(0, 200))
def test_an_answer_is_whole_or_not_there(body: bytes, cut: int) -> None:
    whole = b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%b" % (len(body), body)
    for text in (
        whole,
        b"HTTP/1.1 200 \r\nTransfer-Encoding: chunked\r\n\r\n"
        + (b"%x\r\n%b\r\n" % (len(body), body) if body else b"")
        + b"0\r\n\r\n",
    ):
        answer = parse(text)
        assert answer is not None
        assert (answer.status, answer.body, answer.is_last) == (200, body, False)
        assert parse(text[: min(cut, len(text) - 1)]) is None


def test_predictions_are_found_in_each_protocol() -> None:
    labels = ["a", "b"]
    for where, document in {
        "predictions": {"predictions": labels},
        "outputs": {"outputs": [{"data": labels}]},
        "list": labels,
    }.items():
        assert predictions(json.dumps(document).encode(), where) == labels
