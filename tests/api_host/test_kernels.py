"""Linear models as products of matrices, against scikit-learn."""

from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sklearn.base import clone
from sklearn.compose import make_column_transformer
from sklearn.impute import SimpleImputer
from sklearn.linear_model import (
    BayesianRidge,
    ElasticNet,
    Lasso,
    LinearRegression,
    LogisticRegression,
    Perceptron,
    PoissonRegressor,
    Ridge,
    RidgeClassifier,
    RidgeCV,
    SGDClassifier,
    SGDRegressor,
)
from sklearn.model_selection import GridSearchCV
from sklearn.pipeline import Pipeline, make_pipeline
from sklearn.preprocessing import (
    MaxAbsScaler,
    MinMaxScaler,
    PolynomialFeatures,
    RobustScaler,
    StandardScaler,
)
from sklearn.svm import LinearSVC, LinearSVR

from api_host.compiled.engines import NoEngineError
from tests.api_host.twins import Twins, cancer, iris, rows_near, with_gaps

X, SPECIES = iris()
WIDE, SICK = cancer()
GAPS = with_gaps(X)
LENGTH = X[:, 0] * 2 + X[:, 3]
LOGISTIC = LogisticRegression(max_iter=2000)


def fitted(estimator: Any, target: Any = SPECIES, rows: Any = X) -> Any:
    return clone(estimator).fit(rows, target)


@pytest.mark.parametrize(
    "estimator",
    [
        LogisticRegression(max_iter=2000),
        SGDClassifier(loss="log_loss", random_state=0),
        LinearSVC(),
        RidgeClassifier(),
        Perceptron(),
    ],
    ids=lambda estimator: type(estimator).__name__,
)
@pytest.mark.parametrize("classes", [2, 3])
def test_classifiers_give_the_labels_of_the_original(estimator: Any, classes: int) -> None:
    rows, labels = (WIDE, SICK) if classes == 2 else (X, SPECIES)
    twins = Twins.of(make_pipeline(StandardScaler(), estimator).fit(rows, labels))
    assert twins.assert_equal(rows)
    assert twins.assert_equal(rows[:1])


@pytest.mark.parametrize(
    "estimator",
    [
        LinearRegression(),
        Ridge(),
        RidgeCV(),
        Lasso(),
        ElasticNet(),
        BayesianRidge(),
        LinearSVR(),
        SGDRegressor(random_state=0),
    ],
    ids=lambda estimator: type(estimator).__name__,
)
def test_regressors_give_the_numbers_of_the_original(estimator: Any) -> None:
    twins = Twins.of(make_pipeline(RobustScaler(), estimator).fit(X, LENGTH))
    assert twins.assert_equal(X)
    assert twins.assert_equal(X[:1])


@pytest.mark.parametrize("function", ["predict_proba", "predict_log_proba"])
@pytest.mark.parametrize(
    "estimator",
    [LogisticRegression(max_iter=2000), SGDClassifier(loss="log_loss", random_state=0)],
    ids=lambda estimator: type(estimator).__name__,
)
def test_probabilities_of_two_and_of_three_classes(estimator: Any, function: str) -> None:
    for rows, labels in ((WIDE, SICK), (X, SPECIES)):
        twins = Twins.of(make_pipeline(StandardScaler(), estimator).fit(rows, labels), function)
        assert twins.assert_equal(rows)
        assert twins.assert_equal(rows * 1e4)


def test_a_regressor_of_several_numbers() -> None:
    twins = Twins.of(Ridge().fit(X[:, :3], X))
    assert twins.assert_equal(X[:, :3])


PIPELINES: dict[str, Pipeline] = {
    "standard": make_pipeline(StandardScaler(), LOGISTIC),
    "uncentred": make_pipeline(StandardScaler(with_mean=False), LOGISTIC),
    "unscaled": make_pipeline(RobustScaler(with_scaling=False), LOGISTIC),
    "clipped": make_pipeline(MinMaxScaler(clip=True), LOGISTIC),
    "absolute": make_pipeline(MaxAbsScaler(), "passthrough", LOGISTIC),
    "filled": make_pipeline(SimpleImputer(), StandardScaler(), LOGISTIC),
    "filled late": make_pipeline(StandardScaler(), SimpleImputer(strategy="median"), LOGISTIC),
    "nested": make_pipeline(make_pipeline(StandardScaler(), MaxAbsScaler()), LOGISTIC),
    "columns": make_pipeline(
        make_column_transformer(
            (StandardScaler(), [3, 1]),
            (make_pipeline(SimpleImputer(strategy="constant", fill_value=-1.0)), slice(2, 3)),
            ("drop", [0]),
        ),
        LOGISTIC,
    ),
    "remainder": make_pipeline(
        make_column_transformer((MinMaxScaler(), [1]), remainder="passthrough"), LOGISTIC
    ),
}
FITTED = {name: Twins.of(fitted(each), "predict_proba") for name, each in PIPELINES.items()}


@given(data=st.data(), name=st.sampled_from(sorted(PIPELINES)))
def test_a_pipeline_does_to_every_row_what_the_original_does(data: Any, name: str) -> None:
    twins = FITTED[name]
    twins.assert_equal(data.draw(rows_near(twins, X)))


@pytest.mark.parametrize("name", sorted(PIPELINES))
def test_usual_rows_are_answered_and_not_left_to_the_original(name: str) -> None:
    assert FITTED[name].assert_equal(X)
    assert FITTED[name].assert_equal(X[7:8])


def test_missing_values_are_answered_where_the_pipeline_fills_them_only() -> None:
    assert FITTED["filled"].assert_equal(GAPS)
    assert FITTED["filled late"].assert_equal(GAPS)
    assert FITTED["standard"].engine.predict(GAPS) is None
    row = X[:1].copy()
    row[0, [0, 2]] = np.nan  # One is dropped, one is filled.
    assert FITTED["columns"].assert_equal(row)
    row[0, 1] = np.nan
    assert FITTED["columns"].engine.predict(row) is None


@pytest.mark.parametrize("value", [np.inf, -np.inf, 1e300])
def test_what_the_original_may_refuse_is_left_to_it(value: float) -> None:
    row = X[:1].copy()
    row[0, 2] = value
    for twins in FITTED.values():
        assert twins.engine.predict(row) is None
        assert twins.engine.predict(np.vstack([np.repeat(X, 10, axis=0), row])) is None


@pytest.mark.parametrize("dtype", [np.float32, np.int64])
def test_columns_of_other_types_than_float64(dtype: Any) -> None:
    rows = (WIDE * 10).astype(dtype)
    model = make_pipeline(StandardScaler(), LogisticRegression()).fit(rows, SICK)
    assert Twins.of(model, "predict_proba", dtype).assert_equal(rows.astype(float))


def test_what_a_search_found_is_compiled() -> None:
    search = GridSearchCV(PIPELINES["standard"], {"logisticregression__C": [0.1, 1]}, cv=2)
    assert Twins.of(search.fit(X, SPECIES)).assert_equal(X)


def test_rows_are_not_changed_in_place() -> None:
    rows = X.copy()
    for twins in FITTED.values():
        twins.engine.predict(rows)
    assert np.array_equal(rows, X)


class Doubled(Ridge):  # type: ignore[misc]
    """Whoever replaces a function may do anything in it."""

    def predict(self, rows: Any) -> Any:
        return super().predict(rows) * 2


@pytest.mark.parametrize(
    ("model", "reason"),
    [
        (PoissonRegressor().fit(X, LENGTH), "a PoissonRegressor has no faster equivalent"),
        (Doubled().fit(X, LENGTH), "a Doubled has no faster equivalent"),
        (
            make_pipeline(PolynomialFeatures(), Ridge()).fit(X, LENGTH),
            "what a PolynomialFeatures does has no faster equivalent",
        ),
        (
            make_pipeline(SimpleImputer(add_indicator=True), Ridge()).fit(GAPS, LENGTH),
            "its SimpleImputer adds columns",
        ),
        (
            make_pipeline(SimpleImputer(missing_values=-1), Ridge()).fit(X, LENGTH),
            "its SimpleImputer takes -1 for a missing value",
        ),
    ],
    ids=["poisson", "subclass", "polynomial", "indicator", "missing"],
)
def test_what_is_not_known_well_is_not_compiled(model: Any, reason: str) -> None:
    with pytest.raises(NoEngineError, match=reason):
        Twins.of(model)


def test_probabilities_that_are_worked_out_otherwise_are_not_compiled() -> None:
    model = SGDClassifier(loss="modified_huber", random_state=0).fit(X, SPECIES)
    with pytest.raises(NoEngineError, match="the probabilities of a SGDClassifier"):
        Twins.of(model, "predict_proba")
