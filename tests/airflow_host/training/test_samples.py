import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from airflow_host.training.errors import BadData
from airflow_host.training.samples import kind_of
from tests.airflow_host.training import tables


def frame(target: object, **columns: object) -> pd.DataFrame:
    return pd.DataFrame({"x": range(len(target)), **columns, "weather": target})  # type: ignore[arg-type]


@given(st.lists(st.text(), min_size=1))
def test_text_is_a_class(values: list[str]) -> None:
    assert kind_of(pd.Series(values, dtype=object)) == "classification"


@given(st.lists(st.booleans(), min_size=1))
def test_yes_or_no_is_a_class(values: list[bool]) -> None:
    assert kind_of(pd.Series(values)) == "classification"


@given(st.lists(st.integers(-1000, 1000), min_size=1), st.sampled_from(["int64", "float64"]))
def test_whole_numbers_are_classes_if_few_and_often(values: list[int], dtype: str) -> None:
    distinct = len(set(values))
    few = distinct <= 20 and len(values) >= 10 * distinct

    assert kind_of(pd.Series(values, dtype=dtype)) == ("classification" if few else "regression")


@given(st.integers(1, 20))
def test_whole_numbers_that_are_there_ten_times_are_classes(distinct: int) -> None:
    assert kind_of(pd.Series([*range(distinct)] * 10)) == "classification"


@given(st.lists(st.floats(allow_nan=False, allow_infinity=False), min_size=1))
def test_a_fraction_makes_it_a_number(values: list[float]) -> None:
    assert kind_of(pd.Series([*values * 50, 0.5])) == "regression"


def test_each_column_is_a_number_a_flag_or_text() -> None:
    samples = tables.samples(tables.mixed())

    assert {name: str(dtype) for name, dtype in samples.features.dtypes.items()} == {
        "warmth": "float64",
        "clouds": "float64",
        "wind": "float64",
        "sky": "object",
        "weekend": "bool",
    }
    assert samples.features["sky"].hasnans
    assert samples.kind == "classification"
    assert samples.ignored == {}


@pytest.mark.parametrize(
    ("values", "dtype"),
    [
        ([1, 2] * 20, "int64"),
        ([1.0, 2.0] * 20, "int64"),
        ([1, 2] * 20 + [None], "int64"),
        ([True, False] * 20, "bool"),
        (["a", "b"] * 20, "object"),
        (pd.Categorical(["a", "b"] * 20), "object"),
        (pd.array([1, 2, None] * 20, dtype="Int64"), "int64"),
        ([0.1, 0.2] * 20, "float64"),
    ],
)
def test_a_target_keeps_its_type(values: object, dtype: str) -> None:
    samples = tables.samples(frame(values))

    assert str(samples.target.dtype) == dtype
    assert samples.target.notna().all()
    assert len(samples.features) == len(samples.target)


def test_flags_that_are_missing_somewhere_are_text() -> None:
    features = tables.samples(frame(["a", "b"] * 4, flag=[True, False, None, True] * 2)).features

    assert features["flag"].dropna().unique().tolist() == ["True", "False"]


@pytest.mark.parametrize(
    ("column", "reason"),
    [
        ([None] * 8, "has no values"),
        ([7] * 8, "is the same in every row"),
        ([f"id-{number}" for number in range(8)], "different in almost every row"),
        (pd.date_range("2026-01-01", periods=8), "neither numbers nor text"),
        ([[1]] * 8, "neither numbers nor text"),
    ],
)
def test_columns_that_say_nothing_are_ignored(column: object, reason: str) -> None:
    samples = tables.samples(frame(["a", "b"] * 4, useless=column))

    assert list(samples.features) == ["x"]
    assert reason in samples.ignored["useless"]


def test_the_index_that_pandas_wrote_is_ignored() -> None:
    samples = tables.samples(frame(["a", "b"] * 4, **{"Unnamed: 0": range(8)}))

    assert list(samples.ignored) == ["Unnamed: 0"]


def test_numbers_of_any_type_are_features() -> None:
    features = tables.samples(
        frame(["a", "b"] * 4, nullable=pd.array([1, 2, 3, None] * 2, dtype="Int64"))
    ).features

    assert features["nullable"].dtype == np.float64
    assert features["nullable"].isna().sum() == 2


@pytest.mark.parametrize(
    ("table", "reason"),
    [
        (frame(["a", "b"]).drop(columns="weather"), "no column 'weather': there are x"),
        (frame([None, None]), "the column 'weather' .* has no values at all"),
        (frame(["dry"] * 20), "is 'dry' in every row"),
        (frame([1.0] * 20), r"is '1\.0' in every row"),
        (frame([*["dry"] * 20, None]), "is 'dry' in every row"),
        (frame(pd.date_range("2026-01-01", periods=9)), "holds datetime64.* values"),
        (frame([1.5, 2.5, float("inf")]), "'weather' .* infinite"),
        (frame(["a", "b"], x=[1.0, 1e39]), "'x' .* beyond"),
        (frame(["a", "b"])[["weather"]], "no column to predict from besides the target$"),
        (frame(["a", "b"], x=[1, 1]), "besides the target: 'x' is the same in every row"),
    ],
)
def test_bad_data_is_told_in_one_sentence(table: pd.DataFrame, reason: str) -> None:
    with pytest.raises(BadData, match=reason) as caught:
        tables.samples(table)

    assert tables.PLACE in str(caught.value)
    assert "\n" not in str(caught.value)


def test_only_so_many_columns_are_listed() -> None:
    with pytest.raises(BadData, match=r"there are c0, c1, .*, c19, and 80 more$"):
        tables.samples(pd.DataFrame({f"c{number}": [1] for number in range(100)}))
