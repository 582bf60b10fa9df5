"""Finds, proves and measures a faster equivalent of a model when it is loaded."""

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import structlog
from numpy.typing import NDArray
from sklearn.compose import ColumnTransformer
from sklearn.model_selection._search import BaseSearchCV
from sklearn.pipeline import Pipeline
from threadpoolctl import threadpool_limits

from api_host.engines import (
    Answers,
    Engine,
    Engines,
    Matrix,
    Measurement,
    NoEngineError,
)
from api_host.kernels import compile_linear
from api_host.onnx_trees import compile_trees
from api_host.preparation import Preparation
from api_host.proof import prove
from api_host.samples import Samples, make_samples
from api_host.trees import Ensemble, read_ensemble

Natural = Callable[[Matrix], Any]
"""Rows as the original takes them, from rows as an engine does."""

MILLISECONDS = 1e-3

PROOF_SECONDS = 250 * MILLISECONDS
"""What the original may take to answer all rows of the proof."""

MOST_ROWS, FEWEST_ROWS = 4096, 128
"""Of the proof, its usual rows."""

SIZES = (1, 8, 64, 512, 4096)
"""Numbers of rows at which engine and original are measured."""

MEASURE_SECONDS = 400 * MILLISECONDS
"""When no further number of rows is begun."""

CALL_SECONDS = 50 * MILLISECONDS
"""Where one call takes longer, no larger one is made."""

REPEAT_SECONDS = 15 * MILLISECONDS
"""How long one call is repeated: the shortest counts, since others want the core as well."""


@dataclass(frozen=True)
class _Equivalent:
    """An engine made of two parts: `None` from either is for the original to answer."""

    name: str
    prepare: Callable[[Matrix], NDArray[Any] | None]
    kernel: Callable[[NDArray[Any]], Answers | None]

    def predict(self, matrix: Matrix) -> Answers | None:
        prepared = self.prepare(matrix)
        return None if prepared is None else self.kernel(prepared)


@dataclass(frozen=True)
class _Compiled:
    """An engine and what is known of it, to choose rows that try it."""

    engine: Engine
    preparation: Preparation
    ensemble: Ensemble | None

    def thresholds(self, column: int) -> Matrix:
        """Where a column that goes in makes a difference to the trees."""
        found = [np.empty(0)]
        for inner in np.flatnonzero(self.preparation.columns == column):
            if self.ensemble:
                inside = self.ensemble.thresholds(int(inner))
                found.append(self.preparation.restore(int(inner), inside))
        values = np.concatenate(found)
        return values[np.isfinite(values)]


def compile_model(
    estimator: Any,
    function: str,
    *,
    wanted: bool,
    example: Matrix | None,
    natural: Natural,
) -> Engines:
    """The engines of a fitted estimator, whatever it is: what goes wrong leaves the original.

    `function`: which of its functions is served.
    `wanted`: whether a faster equivalent is looked for.
    `example`: rows that it can predict from; None where columns are not numbers.
    """
    original = getattr(estimator, function)

    def asked(matrix: Matrix) -> Answers:
        answers: Answers = original(natural(matrix))
        return answers

    if not wanted:
        return Engines(original, "MODEL_COMPILE is no")
    if example is None:
        return Engines(original, "its columns are not all numbers that a signature names")
    try:
        compiled = _compile(estimator, function, _dtypes(natural(example[:1])))
        with threadpool_limits(1):  # As many as there are may wait for cores that others use.
            samples = _samples(compiled, asked, example, natural)
            rows = prove(compiled.engine, asked, samples)
            measured = _measure(compiled.engine, asked, samples.usual)
    except NoEngineError as reason:
        return Engines(original, str(reason))
    except Exception as error:  # noqa: BLE001 - none of them is worth a model that is refused
        structlog.get_logger().exception("model_not_compiled", model=type(estimator).__name__)
        return Engines(original, f"compiling it failed: {error!r}")
    why = f"the engine gave the answers of the original on {rows} rows"
    return Engines(original, why, compiled.engine, measured)


def _dtypes(rows: Any) -> list[np.dtype[Any]]:
    if hasattr(rows, "dtypes"):
        return [np.dtype(dtype) for dtype in rows.dtypes]
    return [rows.dtype] * rows.shape[1]


def _compile(estimator: Any, function: str, dtypes: Sequence[np.dtype[Any]]) -> _Compiled:
    steps, model = _unfold(estimator)
    preparation = Preparation.nothing(len(dtypes), _precision(dtypes, steps))
    for step in steps:
        preparation = preparation.then(step)
    kernel = compile_linear(model, function)
    if kernel is not None:
        engine = _Equivalent("numpy", preparation.compile(takes_gaps=False), kernel)
        return _Compiled(engine, preparation, None)
    ensemble = read_ensemble(model)
    if ensemble is None:
        raise NoEngineError(f"a {type(model).__name__} has no faster equivalent")
    prepare = preparation.compile(takes_gaps=ensemble.takes_gaps)
    trees = compile_trees(ensemble, model, function)
    engine = _Equivalent("onnxruntime", prepare, _widened(trees, preparation.dtype))
    return _Compiled(engine, preparation, ensemble)


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


def _samples(
    compiled: _Compiled,
    original: Callable[[Matrix], Answers],
    example: Matrix,
    natural: Natural,
) -> Samples:
    few = np.resize(example, (64, example.shape[1]))
    original(few[:1])
    started = time.perf_counter()
    original(few)
    seconds = time.perf_counter() - started
    rows = int(np.clip(PROOF_SECONDS / (seconds / len(few)), FEWEST_ROWS, MOST_ROWS))
    dtypes = _dtypes(natural(example[:1]))
    return make_samples(example, dtypes, compiled.thresholds, rows)


def _measure(
    engine: Engine, original: Callable[[Matrix], Answers], rows: Matrix
) -> tuple[Measurement, ...]:
    measured: list[Measurement] = []
    deadline = time.perf_counter() + MEASURE_SECONDS
    for size in SIZES:
        matrix = np.resize(rows, (size, rows.shape[1]))
        if time.perf_counter() > deadline or (measured and measured[-1].original > CALL_SECONDS):
            break
        slow, fast = _seconds(original, matrix), _seconds(engine.predict, matrix)
        measured.append(Measurement(size, slow, fast))
    return tuple(measured)


def _seconds(predict: Callable[[Matrix], object], matrix: Matrix) -> float:
    predict(matrix)
    best = float("inf")
    deadline = time.perf_counter() + REPEAT_SECONDS
    while (started := time.perf_counter()) < deadline or best == float("inf"):
        predict(matrix)
        best = min(best, time.perf_counter() - started)
    return best
