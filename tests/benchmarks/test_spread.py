"""Percentiles, spreads and ratios."""

import math

import pytest
from benchmarks.serving.spread import Spread, percentile, ratios, short
from hypothesis import given
from hypothesis import strategies as st

latencies = st.lists(st.floats(0, 1e6), min_size=1)


def test_a_percentile_is_a_value_that_was_measured() -> None:
    assert percentile([4.0, 1.0, 3.0, 2.0], 0.5) == 2.0
    assert percentile([float(n) for n in range(1, 101)], 0.99) == 99.0
    assert percentile([7.0], 0.99) == 7.0
    assert math.isnan(percentile([], 0.5))


@given(latencies, st.floats(0.01, 1))
def test_at_least_that_share_does_not_exceed_a_percentile(
    values: list[float], share: float
) -> None:
    found = percentile(values, share)
    assert found in values
    assert sum(value <= found for value in values) >= share * len(values) - 1e-9
    assert sum(value < found for value in values) < share * len(values) + 1e-9


def test_ratios_are_taken_round_by_round() -> None:
    # The second round was slow for both: their ratio is the same.
    assert ratios([100.0, 50.0, 90.0], [10.0, 5.0, 10.0]) == Spread(10.0, 9.0, 10.0)


def test_a_ratio_to_nothing_is_infinite() -> None:
    assert ratios([1.0], [0.0]).median == math.inf


def test_ratios_need_as_many_rounds_of_both() -> None:
    with pytest.raises(ValueError, match="shorter"):
        ratios([1.0, 2.0], [1.0])


@pytest.mark.parametrize(
    ("value", "text"),
    [(1234.5, "1,234"), (123.4, "123"), (12.34, "12.3"), (1.234, "1.23"), (0.04, "0.04")],
)
def test_numbers_show_no_more_digits_than_they_have(value: float, text: str) -> None:
    assert short(value) == text


def test_a_spread_says_its_extremes_only_if_they_differ() -> None:
    assert str(Spread.of([3.0, 1.0, 2.0])) == "2.00 (1.00 to 3.00)"
    assert str(Spread.of([2.0])) == "2.00"
