"""What the proof finds: every way in which an engine was seen to be wrong, on purpose."""

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from sklearn.ensemble import HistGradientBoostingRegressor, RandomForestRegressor
from sklearn.linear_model import LogisticRegression, Ridge
from threadpoolctl import threadpool_limits

from api_host.compiled import trees
from api_host.compiled.engines import Answers, NoEngineError
from api_host.compiled.proof import prove
from api_host.compiled.samples import Samples, make_samples
from api_host.table import Matrix
from tests.api_host.twins import Twins, iris, with_gaps

X, SPECIES = iris()
LENGTH = X[:, 0] * 2 + X[:, 3]
FLOATS = [np.dtype(float)] * 4

RIDGE = Twins.of(Ridge().fit(X, LENGTH))
LABELS = Twins.of(LogisticRegression(max_iter=1000).fit(X, SPECIES))
FOREST = Twins.of(RandomForestRegressor(10, random_state=0).fit(X, LENGTH))
GAPPED = Twins.of(
    HistGradientBoostingRegressor(max_iter=10, min_samples_leaf=5).fit(with_gaps(X), LENGTH)
)


class Changed:
    """The engine of a model, after `change` was done to what it says."""

    name = "changed"

    def __init__(self, twins: Twins, change: Callable[[Matrix, Any], Answers | None]) -> None:
        self._engine = twins.engine
        self._change = change

    def predict(self, matrix: Matrix) -> Answers | None:
        answers = self._engine.predict(matrix)
        return answers if answers is None else self._change(matrix, answers)


def samples_of(twins: Twins) -> Samples:
    return make_samples(X[:5], FLOATS, twins.engine.thresholds, 400)


def prove_changed(twins: Twins, change: Callable[[Matrix, Any], Answers | None]) -> int:
    with threadpool_limits(1):
        return prove(Changed(twins, change), twins.ask, samples_of(twins))


def assert_found(
    twins: Twins, change: Callable[[Matrix, Any], Answers | None], reason: str
) -> None:
    with pytest.raises(NoEngineError, match=reason):
        prove_changed(twins, change)


@pytest.mark.parametrize("twins", [RIDGE, LABELS, FOREST, GAPPED])
def test_right_engines_are_proven(twins: Twins) -> None:
    assert prove_changed(twins, lambda _, answers: answers) > 500


def test_numbers_that_are_a_little_off_are_found() -> None:
    assert_found(RIDGE, lambda _, answers: answers * 1.00001, "it differs .* by .* at row 0")


def test_a_single_wrong_row_is_found() -> None:
    def change(rows: Matrix, answers: Answers) -> Answers:
        return np.where(rows[:, 2] == rows[:, 2].max(), answers + 1, answers)

    assert_found(RIDGE, change, "it differs from the original by 1 at row")


def test_a_wrong_label_is_found() -> None:
    def change(_: Matrix, answers: Answers) -> Answers:
        return np.where(answers == "setosa", "virginica", answers)

    assert_found(LABELS, change, r"by a label \(virginica for setosa\)")


def test_labels_of_another_type_are_found() -> None:
    assert_found(LABELS, lambda _, answers: answers.astype(object), "it gives object of")


def test_another_shape_is_found() -> None:
    assert_found(RIDGE, lambda _, answers: answers.reshape(-1, 1), r"it gives .* of \(405, 1\)")


def test_a_row_that_is_answered_otherwise_when_it_is_alone_is_found() -> None:
    def change(rows: Matrix, answers: Answers) -> Answers:
        return answers + 1 if len(rows) == 1 else answers

    assert_found(RIDGE, change, "it differs .* at row 0 alone")


@pytest.mark.parametrize("careless", [np.float64, np.float32])
def test_thresholds_that_do_not_round_as_the_original_does_are_found(
    monkeypatch: pytest.MonkeyPatch, careless: Any
) -> None:
    monkeypatch.setattr(
        trees, "before_rounding", lambda exact: exact.astype(careless).astype(float)
    )
    twins = Twins.of(FOREST.original)
    assert_found(twins, lambda _, answers: answers, "it differs from the original by .* at row")


def test_an_answer_where_the_original_refuses_missing_values_is_found() -> None:
    class Careless(Changed):
        def predict(self, matrix: Matrix) -> Answers | None:
            return super().predict(np.nan_to_num(matrix))

    with pytest.raises(NoEngineError, match="it answers where the original refuses incomplete"):
        prove(Careless(RIDGE, lambda _, answers: answers), RIDGE.ask, samples_of(RIDGE))


def test_missing_values_that_go_the_wrong_way_are_found() -> None:
    def change(rows: Matrix, answers: Answers) -> Answers:
        return np.where(np.isnan(rows).any(axis=1), answers + 0.1, answers)

    with threadpool_limits(1):
        assert_found(GAPPED, change, "at incomplete row")


def test_large_numbers_that_are_wrong_are_found() -> None:
    def change(rows: Matrix, answers: Answers) -> Answers:
        return np.where((np.abs(rows) > 1e5).any(axis=1), answers + 1, answers)

    assert_found(FOREST, change, "at wide row")


def test_an_engine_that_never_answers_is_of_no_use() -> None:
    assert_found(RIDGE, lambda *_: None, "the engine answers none of the rows")


def test_a_model_that_refuses_its_own_rows_is_not_compiled() -> None:
    def refuses(_: Matrix) -> Answers:
        raise ValueError("not these")

    with pytest.raises(NoEngineError, match="the original refuses rows of its signature"):
        prove(RIDGE.engine, refuses, samples_of(RIDGE))


def test_rows_are_the_same_at_every_load_and_fit_the_signature() -> None:
    dtypes = [np.dtype(name) for name in ("int32", "float32", "bool", "float64")]
    first, again = [make_samples(X[:5], dtypes, FOREST.engine.thresholds, 100) for _ in range(2)]
    for group in ("usual", "wide", "gaps"):
        rows = getattr(first, group)
        assert np.array_equal(rows, getattr(again, group), equal_nan=True)
        generated = rows[5:]
        for column in (0, 2):
            assert not np.isnan(generated[:, column]).any()
        assert np.array_equal(generated[:, 0], np.rint(generated[:, 0]))
        single = generated[:, 1].astype(np.float32).astype(float)
        assert np.array_equal(generated[:, 1], single, equal_nan=True)
    assert np.isnan(first.gaps).any()


def test_rows_lie_on_the_thresholds_and_right_beside_them() -> None:
    samples = samples_of(FOREST)
    thresholds = FOREST.engine.thresholds(2)
    assert np.isin(samples.usual[:, 2], thresholds).any()
    assert np.isin(samples.usual[:, 2], np.nextafter(thresholds, np.inf)).any()
