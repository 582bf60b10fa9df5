import threading

import pytest

from hostkit.doctor.report import Verdict
from hostkit.doctor.steps import Fault, NothingToCheck, Step, Walk, examine

BROKEN = Fault("it is dry", "Nobody filled it.", "Fill it.")


def raising(error: Exception) -> str:
    raise error


def steps() -> tuple[Step, ...]:
    return (
        Step("lid", lambda: "it is shut"),
        Step("whistle", lambda: raising(NothingToCheck("it has none"))),
        Step("water", lambda: raising(BROKEN)),
        Step("plug", lambda: "it is in"),
    )


def test_a_walk_ends_with_the_first_step_that_fails() -> None:
    (report,) = examine([Walk("kettle", "the kettle", steps())])
    assert [(step.name, step.verdict, step.seen) for step in report.steps] == [
        ("lid", Verdict.PASSED, "it is shut"),
        ("whistle", Verdict.SKIPPED, "it has none"),
        ("water", Verdict.FAILED, "it is dry"),
    ]
    assert (report.steps[2].meaning, report.steps[2].remedy) == (BROKEN.meaning, BROKEN.remedy)
    assert not report.well


def test_steps_that_need_nothing_of_each_other_are_all_done() -> None:
    (report,) = examine([Walk("kettle", "the kettle", steps(), independent=True)])
    assert [step.name for step in report.steps] == ["lid", "whistle", "water", "plug"]


@pytest.mark.parametrize("error", [ValueError("odd"), KeyError("models"), RecursionError()])
def test_a_step_that_breaks_is_a_failure_and_no_traceback(error: Exception) -> None:
    (report,) = examine([Walk("kettle", "", (Step("lid", lambda: raising(error)),))])
    assert report.steps[0].verdict is Verdict.FAILED
    assert type(error).__name__ in report.steps[0].seen


def test_a_step_that_never_ends_is_given_up() -> None:
    never = threading.Event()
    step = Step("water", lambda: str(never.wait()), seconds=0.1)
    (report,) = examine([Walk("kettle", "", (step,))])
    never.set()
    assert report.steps[0].seen == "nothing happened for 0.1 s"
    assert report.steps[0].remedy


def test_walks_go_side_by_side() -> None:
    both = threading.Barrier(2, timeout=60)
    walk = Walk("kettle", "", (Step("meet", lambda: f"number {both.wait()}", seconds=60),))
    assert all(report.well for report in examine([walk, walk]))
