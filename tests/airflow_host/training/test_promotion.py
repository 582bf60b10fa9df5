import math

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from airflow_host.training.plan import CANDIDATES, Trained
from airflow_host.training.promotion import CRITERIA, best, decide

ACCURACY, RMSE = CRITERIA["classification"], CRITERIA["regression"]

shares = st.floats(0, 1)
errors = st.floats(0, 1e6)
margins = st.floats(0, 1)
criteria = st.sampled_from([ACCURACY, RMSE])


def trained(candidate: str, value: float, tie: float = 0.0) -> Trained:
    metrics = {"accuracy": value, "log_loss": tie, "rmse": value, "mae": tie}
    return Trained(candidate, f"run-{candidate}", f"model-{candidate}", metrics)


@given(errors, margins, criteria)
def test_an_equal_is_refused(value: float, margin: float, criterion: object) -> None:
    assert not decide(value, value, criterion=criterion, margin=margin).promoted  # type: ignore[arg-type]


@given(shares, shares, margins)
def test_more_accuracy_than_the_margin_is_promoted(new: float, old: float, margin: float) -> None:
    assume(abs(new - old - margin) > 1e-6)

    assert decide(new, old, criterion=ACCURACY, margin=margin).promoted == (new > old + margin)


@given(errors, errors, margins)
def test_less_error_by_more_than_the_margin_is_promoted(
    new: float, old: float, margin: float
) -> None:
    assume(abs(old - new - margin) > 1e-2)

    assert decide(new, old, criterion=RMSE, margin=margin).promoted == (new < old - margin)


@given(errors, errors, margins, criteria)
def test_two_never_beat_each_other(
    one: float, other: float, margin: float, criterion: object
) -> None:
    there = decide(one, other, criterion=criterion, margin=margin)  # type: ignore[arg-type]
    back = decide(other, one, criterion=criterion, margin=margin)  # type: ignore[arg-type]

    assert not (there.promoted and back.promoted)


@given(errors, errors, margins, margins, criteria)
def test_a_larger_margin_promotes_nobody_more(
    new: float, old: float, one: float, other: float, criterion: object
) -> None:
    small, large = sorted((one, other))

    if decide(new, old, criterion=criterion, margin=large).promoted:  # type: ignore[arg-type]
        assert decide(new, old, criterion=criterion, margin=small).promoted  # type: ignore[arg-type]


@pytest.mark.parametrize(("new", "old", "margin"), [(0.4, 0.3, 0.1), (0.9, 0.8, 0.1)])
def test_a_gain_of_just_the_margin_is_refused(new: float, old: float, margin: float) -> None:
    assert not decide(new, old, criterion=ACCURACY, margin=margin).promoted


@pytest.mark.parametrize(("new", "old"), [(math.nan, 0.5), (0.5, math.nan)])
def test_what_is_no_number_beats_nobody(new: float, old: float) -> None:
    assert not decide(new, old, criterion=ACCURACY, margin=0).promoted


def test_the_reason_names_both() -> None:
    assert decide(0.97, 0.93, criterion=ACCURACY, margin=0).reason == (
        "accuracy 0.97 beats the champion's 0.93 by more than 0"
    )
    assert decide(3.5, 3.0, criterion=RMSE, margin=0.25).reason == (
        "rmse 3.5 does not beat the champion's 3 by more than 0.25"
    )


@given(st.permutations([(name, value) for name in CANDIDATES for value in (0.1,)]))
def test_the_order_of_candidates_decides_between_equals(order: list[tuple[str, float]]) -> None:
    candidates = [trained(name, value) for name, value in order]

    assert best(candidates, ACCURACY).candidate == CANDIDATES[0]


@given(st.lists(st.tuples(shares, errors), min_size=3, max_size=3))
def test_nobody_is_better_than_the_best(values: list[tuple[float, float]]) -> None:
    candidates = [trained(name, *value) for name, value in zip(CANDIDATES, values, strict=True)]

    most, least = best(candidates, ACCURACY).metrics, best(candidates, RMSE).metrics

    assert most["accuracy"] == max(value for value, _ in values)
    assert least["rmse"] == min(value for value, _ in values)
    ties = [tie for value, tie in values if value == most["accuracy"]]
    assert most["log_loss"] == min(ties)
