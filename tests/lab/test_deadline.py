"""Waiting: it ends with an answer, or with words about what did not happen."""

import pytest

from lab.deadline import wait_for
from lab.errors import LateError


def test_the_first_true_answer_is_returned() -> None:
    answers = iter(["", "", "ready"])
    assert wait_for(lambda: next(answers), 5, "it") == "ready"


def test_what_did_not_happen_is_named_with_what_was_seen_last() -> None:
    with pytest.raises(LateError, match=r"the boot did not happen within 0 s \(last seen: 0\)"):
        wait_for(lambda: 0, 0, "the boot")
