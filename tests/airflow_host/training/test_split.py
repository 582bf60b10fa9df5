import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from airflow_host.training.errors import BadData
from airflow_host.training.split import ONE_IN, split
from tests.airflow_host.training import tables
from tests.airflow_host.training.tables import PLACE, samples

ROWS = st.lists(
    st.tuples(st.sampled_from(["a", "b", "c"]), st.integers(0, 5), st.floats(-9, 9)), min_size=8
)


def table(rows: list[tuple[str, int, float]]) -> pd.DataFrame:
    # A few of each class, as splitting needs.
    enough = [(label, number, 0.5) for label in "abc" for number in range(ONE_IN)]
    return pd.DataFrame([*enough, *rows], columns=["weather", "x", "y"])


def contents(frame: pd.DataFrame, target: pd.Series) -> list[tuple[object, ...]]:
    return sorted(frame.assign(weather=target).itertuples(index=False, name=None))


@given(ROWS)
def test_each_row_is_on_one_side(rows: list[tuple[str, int, float]]) -> None:
    whole = samples(table(rows))

    halves = split(whole, place=PLACE)

    both = contents(halves.learned.features, halves.learned.target) + contents(
        halves.held_out.features, halves.held_out.target
    )
    assert sorted(both) == contents(whole.features, whole.target)


@given(ROWS)
def test_one_in_four_of_each_class_is_held_out(rows: list[tuple[str, int, float]]) -> None:
    whole = samples(table(rows))

    held_out = split(whole, place=PLACE).held_out.target.value_counts()

    assert dict(held_out) == dict(whole.target.value_counts() // ONE_IN)


@given(ROWS, st.randoms(use_true_random=False))
def test_the_order_of_rows_and_columns_does_not_matter(
    rows: list[tuple[str, int, float]], chance: object
) -> None:
    frame = table(rows)
    shuffled = [*range(len(frame))]
    chance.shuffle(shuffled)  # type: ignore[attr-defined]

    one = split(samples(frame), place=PLACE).held_out
    other = split(samples(frame.iloc[shuffled, ::-1]), place=PLACE).held_out

    assert contents(one.features, one.target) == contents(
        other.features[list(one.features)], other.target
    )


def test_rows_stay_where_they_are_when_the_table_grows() -> None:
    before = split(samples(tables.weather(400)), place=PLACE).held_out
    after = split(samples(tables.weather(500)), place=PLACE).held_out

    kept = set(contents(before.features, before.target)) & set(
        contents(after.features, after.target)
    )
    assert len(kept) > 0.85 * len(before.target)


def test_numbers_are_held_out_without_classes() -> None:
    halves = split(samples(tables.rent(), "rent"), place=PLACE)

    assert (len(halves.learned.target), len(halves.held_out.target)) == (60, 20)
    assert halves.held_out.kind == "regression"


@pytest.mark.parametrize(
    ("target", "reason"),
    [
        (["a", "b"] * 3, "has 6 rows with a target: at least 8 are needed"),
        (["a"] * 10 + ["b"] * 3, "1 of the 2 classes .* for instance 'b' with 3: add rows"),
        ([f"{number}.5" for number in range(10)] + ["x"], "numbers with some text among them"),
    ],
)
def test_too_few_rows_are_told(target: list[str], reason: str) -> None:
    frame = pd.DataFrame({"weather": target, "x": range(len(target))})

    with pytest.raises(BadData, match=reason):
        split(samples(frame), place=PLACE)
