"""Requests that are answered together get what they would get alone."""

from itertools import pairwise
from typing import Any

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.linear_model import LinearRegression, LogisticRegression

from api_host.batches import predict_all
from api_host.compiled.engines import Engines
from api_host.models.model import Model, Trial
from api_host.table import Natural, Table, join
from tests.api_host.conftest import iris

X, SPECIES = iris()
lengths = st.lists(st.integers(1, 6), min_size=1, max_size=5)


def model_of(predict: Any) -> Model:
    return Model(None, None, None, [], Trial(joins=True, seconds=1.0), Engines(predict, ""))


def tables_of(sizes: list[int]) -> list[Table]:
    starts = np.cumsum([0, *sizes])
    return [Table(X.iloc[a:b]) for a, b in pairwise(starts)]


@pytest.fixture(scope="module")
def classifier() -> Any:
    return LogisticRegression(max_iter=1000).fit(X, SPECIES)


@given(sizes=lengths)
@settings(deadline=None)
def test_each_gets_what_it_would_get_alone(classifier: Any, sizes: list[int]) -> None:
    tables = tables_of(sizes)
    for table, labels in zip(
        tables, predict_all(model_of(classifier.predict), tables), strict=True
    ):
        assert labels.tolist() == classifier.predict(table.natural()).tolist()
    for table, shares in zip(
        tables, predict_all(model_of(classifier.predict_proba), tables), strict=True
    ):
        np.testing.assert_allclose(shares, classifier.predict_proba(table.natural()))


def test_one_call_is_made_for_all() -> None:
    calls = []

    def predict(natural: Natural) -> Any:
        calls.append(len(natural))
        return np.arange(len(natural))

    found = predict_all(model_of(predict), tables_of([2, 3]))
    assert [part.tolist() for part in found] == [[0, 1], [2, 3, 4]]
    assert calls == [5]


def test_several_things_predicted_at_once_are_split_each() -> None:
    regression = LinearRegression().fit(X, X.to_numpy()[:, :2])
    found = predict_all(model_of(lambda x: list(regression.predict(x).T)), tables_of([2, 3]))
    assert [[array.shape for array in part] for part in found] == [[(2,), (2,)], [(3,), (3,)]]


def test_what_is_wrong_with_one_request_is_not_the_others(classifier: Any) -> None:
    good, bad = Table(X.iloc[:2]), Table(X.iloc[:1] * np.nan)
    first, refused, last = predict_all(model_of(classifier.predict), [good, bad, good])
    assert isinstance(refused, ValueError)
    assert first.tolist() == last.tolist() == ["setosa", "setosa"]


def test_tables_that_do_not_go_together_are_not_joined() -> None:
    words = Table(pd.DataFrame({"a": ["x"]}))
    assert join([words, Table(pd.DataFrame({"a": [1.0]}))]) is None
    assert join([words, Table(np.zeros((1, 1)))]) is None
    assert join([Table(np.zeros((1, 2))), Table(np.zeros((1, 3)))]) is None
    joined = join([words, words])
    assert joined is not None
    assert len(joined) == 2


def test_a_model_without_a_prediction_a_row_is_asked_one_by_one() -> None:
    found = predict_all(model_of(lambda natural: np.array([len(natural)])), tables_of([2, 3]))
    assert [part.tolist() for part in found] == [[2], [3]]
