"""Load: what the clients saw is counted right."""

import pytest

from lab.load import Answer, Load


@pytest.fixture
def load() -> Load:
    answers = [
        Answer(10.0, 11.0),
        Answer(11.0, 12.0, "ConnectError: refused"),
        Answer(12.0, 15.5),
        Answer(12.0, 13.0),
    ]
    return Load(answers, began=10.0, ended=16.0)


def test_failures_are_requests_too(load: Load) -> None:
    assert load.requests == 4
    assert load.failures == ["ConnectError: refused"]
    assert str(load) == "4 requests, 1 failed, longest gap 2.50 s"


def test_the_gap_counts_to_the_end_and_from_the_beginning() -> None:
    assert Load([], began=10.0, ended=16.0).longest_gap == 6.0
    assert Load([Answer(10.0, 14.0)], began=10.0, ended=16.0).longest_gap == 4.0
    assert Load([Answer(10.0, 11.0)], began=10.0, ended=16.0).longest_gap == 5.0


def test_an_answer_to_an_older_request_is_no_recovery(load: Load) -> None:
    assert load.has_answered_since(11.9)
    assert not load.has_answered_since(12.0)
