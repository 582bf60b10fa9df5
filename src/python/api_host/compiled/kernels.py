"""Linear models as a product of matrices: microseconds, where scikit-learn's checks take hundreds.

The products are those of scikit-learn, on the same arrays, without what is around them.
"""

from collections.abc import Callable
from inspect import getattr_static
from typing import Any

import numpy as np
from numpy.typing import NDArray
from sklearn.linear_model import (
    ARDRegression,
    BayesianRidge,
    ElasticNet,
    LogisticRegression,
    Ridge,
    RidgeClassifier,
    RidgeCV,
    SGDClassifier,
    SGDRegressor,
)
from sklearn.linear_model._base import (
    LinearClassifierMixin,
    LinearModel,
    MultiOutputLinearModel,
)

from api_host.compiled.engines import NoEngineError
from api_host.compiled.scores import (
    Answer,
    by_largest,
    by_sign,
    logarithm,
    sigmoid,
    sigmoids,
    softmax,
)

_CLASSIFIERS = {LinearClassifierMixin.predict, RidgeClassifier.predict}
_REGRESSORS = {
    LinearModel.predict,
    MultiOutputLinearModel.predict,
    ARDRegression.predict,
    BayesianRidge.predict,
    Ridge.predict,
    RidgeCV.predict,
    SGDRegressor.predict,
}
_DECISION = "_decision_function"
_DECISIONS = {getattr(cls, _DECISION) for cls in (LinearModel, ElasticNet, SGDRegressor)}


def compile_linear(estimator: Any, function: str) -> Callable[[NDArray[Any]], NDArray[Any]] | None:
    """The kernel of a fitted linear model; None if it is not one that we know to be one.

    A class is known by its functions: one that replaces them may do anything.
    """
    cls = type(estimator)
    if getattr(cls, "predict", None) in _CLASSIFIERS:
        return _classifier(estimator, function)
    is_regressor = getattr(cls, "predict", None) in _REGRESSORS
    return _regressor(estimator) if is_regressor and getattr(cls, _DECISION) in _DECISIONS else None


def _classifier(estimator: Any, function: str) -> Callable[[NDArray[Any]], NDArray[Any]] | None:
    cls = type(estimator)
    if cls.decision_function is not LinearClassifierMixin.decision_function:
        return None
    binarizer = getattr(estimator, "_label_binarizer", None)
    if binarizer is not None and binarizer.y_type_.startswith("multilabel"):
        raise NoEngineError(f"a {cls.__name__} of several labels a row has no faster equivalent")
    weights = np.asarray(estimator.coef_)
    binary = weights.ndim == 1 or len(weights) == 1
    answer = _labels(estimator, binary) if function == "predict" else _chances(estimator, binary)
    if function == "predict_log_proba":
        answer = logarithm(answer)
    scores = _scores(weights.T, estimator.intercept_)
    if binary:
        return lambda matrix: answer(scores(matrix).reshape(-1))
    return lambda matrix: answer(scores(matrix))


def _labels(estimator: Any, binary: bool) -> Answer:
    return by_sign(estimator.classes_) if binary else by_largest(estimator.classes_)


def _chances(estimator: Any, binary: bool) -> Answer:
    function = getattr_static(estimator, "predict_proba")
    if function is getattr_static(LogisticRegression, "predict_proba"):
        return sigmoid if binary else softmax
    is_sgd = function is getattr_static(SGDClassifier, "predict_proba")
    if is_sgd and estimator.loss == "log_loss":
        return sigmoid if binary else sigmoids
    name = type(estimator).__name__
    raise NoEngineError(f"the probabilities of a {name} have no faster equivalent")


def _regressor(estimator: Any) -> Callable[[NDArray[Any]], NDArray[Any]]:
    weights = np.asarray(estimator.coef_)
    return _scores(weights if weights.ndim == 1 else weights.T, estimator.intercept_)


def _scores(weights: NDArray[Any], intercept: Any) -> Callable[[NDArray[Any]], NDArray[Any]]:
    return lambda matrix: matrix.dot(weights) + intercept
