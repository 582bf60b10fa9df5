"""What is made of a load during which models were promoted."""

import math
from dataclasses import replace

import pytest
from benchmarks.serving.plan import Seen
from benchmarks.serving.promotion import Swap
from benchmarks.serving.slope import Slope
from benchmarks.soak import lost
from benchmarks.swap import AFTER_SECONDS, REST_SECONDS, Parts
from hypothesis import given
from hypothesis import strategies as st

SWAP = Swap(10.0, 12.0)
NOTHING = Seen((), (), (), wrong=0, failed=0, given_up=0, seconds=1.0, busy=0.0)


@pytest.mark.parametrize(
    ("due", "rest", "swap"),
    [
        (9.9, 1, 0),
        (10.0, 0, 1),
        (12.0 + AFTER_SECONDS / 2, 0, 1),
        (12.0 + REST_SECONDS / 2, 0, 0),
        (12.1 + REST_SECONDS, 1, 0),
    ],
)
def test_a_request_counts_where_it_was_due(due: float, rest: int, swap: int) -> None:
    parts = Parts.divide(replace(NOTHING, good=(0.5,), due=(due,)), [SWAP])
    assert (len(parts.rest), len(parts.swap)) == (rest, swap)


def test_the_ratio_is_of_the_slowest_hundredths() -> None:
    seen = replace(NOTHING, good=(1.0,) * 99 + (9.0, 2.0), due=(0.0,) * 100 + (11.0,))
    assert Parts.divide(seen, [SWAP]).ratio == 2.0


def test_every_request_without_its_right_answer_is_lost() -> None:
    seen = replace(NOTHING, good=(0.1,), refused=(0.1,), wrong=2, failed=3, given_up=4)
    assert lost(seen) == 10


@given(st.floats(-5, 5), st.floats(0, 500), st.integers(3, 50))
def test_the_slope_of_a_line_is_sure(steepness: float, start: float, count: int) -> None:
    slope = Slope.through([(5.0 * n, start + steepness * 5.0 * n) for n in range(count)])
    assert slope.steepness == pytest.approx(steepness, abs=1e-6)
    assert slope.spread == pytest.approx(0, abs=1e-5)


def test_memory_that_goes_up_and_down_does_not_grow_and_one_that_leaks_does() -> None:
    wave = [(float(n), 200.0 + 10 * (n % 4)) for n in range(60)]
    steady = Slope.through(wave)
    assert abs(steady.steepness) < steady.spread
    leak = Slope.through([(moment, size + moment) for moment, size in wave])
    assert leak.steepness - leak.spread > 0.5


def test_two_figures_say_nothing_of_growth() -> None:
    assert Slope.through([(0.0, 1.0), (1.0, 9.0)]).spread == math.inf
