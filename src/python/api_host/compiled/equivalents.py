"""The faster equivalent of a model, put together: its pipeline, and then itself."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from sklearn.compose import ColumnTransformer
from sklearn.model_selection._search import BaseSearchCV
from sklearn.pipeline import Pipeline

from api_host.compiled.engines import Answers, Engine, NoEngineError
from api_host.compiled.kernels import compile_linear
from api_host.compiled.preparation import Preparation
from api_host.compiled.trees import Ensemble, read_ensemble
from api_host.table import Matrix


@dataclass(frozen=True)
class Equivalent:
    """An engine of two parts, either of which may leave rows to the original.

    `prepare`: what the pipeline does.
    `kernel`: what the model does.
    `preparation`, `ensemble`: what the two were made from, to choose rows that try them.
    `scores`: the sums of the ensemble's leaves, from which functions make their answers.
    """

    name: str
    prepare: Callable[[Matrix], NDArray[Any] | None]
    kernel: Callable[[NDArray[Any]], Answers | None]
    preparation: Preparation
    ensemble: Ensemble | None = None
    scores: Callable[[NDArray[Any]], NDArray[np.float64]] | None = None

    def predict(self, matrix: Matrix) -> Answers | None:
        """What the original would say; None where only the original can answer, or refuse."""
        prepared = self.prepare(matrix)
        return None if prepared is None else self.kernel(prepared)

    def thresholds(self, column: int) -> Matrix:
        """Where a column that goes in makes a difference to the trees."""
        found = [np.empty(0)]
        for inner in np.flatnonzero(self.preparation.columns == column):
            if self.ensemble:
                inside = self.ensemble.thresholds(int(inner))
                found.append(self.preparation.restore(int(inner), inside))
        values = np.concatenate(found)
        return values[np.isfinite(values)]


def find_equivalent(
    estimator: Any,
    function: str,
    dtypes: Sequence[np.dtype[Any]],
    like: Engine | None = None,
) -> Equivalent:
    """The equivalent of a function of a fitted estimator, not proven yet.

    Raises `NoEngineError`, or whatever an estimator that we do not know well gives rise to.

    `dtypes`: of the columns, as the original takes them.
    `like`: of another function of the same estimator, whose trees are shared.
    """
    steps, model = _unfold(estimator)
    preparation = Preparation.nothing(len(dtypes), _precision(dtypes, steps))
    for step in steps:
        preparation = preparation.then(step)
    kernel = compile_linear(model, function)
    if kernel is not None:
        prepare = preparation.compile(takes_gaps=False)
        return Equivalent("numpy", prepare, kernel, preparation)
    shared = like if isinstance(like, Equivalent) else None
    ensemble = shared.ensemble if shared else read_ensemble(model)
    if ensemble is None:
        raise NoEngineError(f"a {type(model).__name__} has no faster equivalent")
    # Imported here: linear models do without its 22 MB.
    from api_host.compiled.onnx_trees import answer_of_trees, open_trees  # noqa: PLC0415

    scores = shared.scores if shared else None
    scores = scores or open_trees(ensemble, model.n_features_in_)
    trees = _widened(answer_of_trees(scores, ensemble, model, function), preparation.dtype)
    prepare = preparation.compile(takes_gaps=ensemble.takes_gaps)
    return Equivalent("onnxruntime", prepare, trees, preparation, ensemble, scores)


def _widened(
    kernel: Callable[[NDArray[Any]], Answers | None], dtype: np.dtype[Any]
) -> Callable[[NDArray[Any]], Answers | None]:
    """The same, where the numbers that come out of the pipeline may be of float32."""
    if dtype == np.float64:
        return kernel
    return lambda matrix: kernel(matrix.astype(np.float64))


def _unfold(estimator: Any) -> tuple[list[Any], Any]:
    """What a pipeline does before its model, and the model."""
    steps: list[Any] = []
    while True:
        if isinstance(estimator, BaseSearchCV):
            estimator = estimator.best_estimator_
        elif type(estimator) is Pipeline:
            steps += [step for _, step in estimator.steps[:-1]]
            estimator = estimator.steps[-1][1]
        else:
            return steps, estimator


def _precision(dtypes: Sequence[np.dtype[Any]], steps: Sequence[Any]) -> np.dtype[Any]:
    """In which scikit-learn computes with columns of these types."""
    single = np.dtype(np.float32)
    if np.dtype(np.float16) in dtypes:
        raise NoEngineError("a column is float16")
    if all(dtype == single for dtype in dtypes):
        return single
    if single in dtypes and any(isinstance(step, ColumnTransformer) for step in steps):
        raise NoEngineError("its pipeline treats columns of float32 and float64 apart")
    return np.dtype(np.float64)
