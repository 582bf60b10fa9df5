"""Finds, proves and measures a faster equivalent of a model when it is loaded."""

import time
from collections.abc import Callable
from typing import Any

import numpy as np
import structlog
from threadpoolctl import threadpool_limits

from api_host.compiled.engines import Answers, Engine, Engines, Measurement, NoEngineError
from api_host.compiled.equivalents import Equivalent, find_equivalent
from api_host.compiled.proof import prove
from api_host.compiled.samples import Samples, make_samples
from api_host.table import Form, Matrix, Natural

Original = Callable[[Natural], Answers]

MILLISECONDS = 1e-3

PROOF_SECONDS = 250 * MILLISECONDS
"""What the original may take to answer all rows of the proof."""

MOST_ROWS, FEWEST_ROWS = 2048, 128
"""Of the proof, its usual rows."""

SIZES = (1, 8, 64, 512, 4096)
"""Numbers of rows at which engine and original are measured."""

MEASURE_SECONDS = 400 * MILLISECONDS
"""When no further number of rows is begun."""

CALL_SECONDS = 50 * MILLISECONDS
"""Where one call takes longer, no larger one is made."""

REPEAT_SECONDS = 5 * MILLISECONDS
"""How long one call is repeated."""


def compile_model(
    estimator: Any,
    function: str,
    *,
    wanted: bool,
    example: Matrix,
    natural: Form | None,
    like: Engine | None = None,
) -> Engines:
    """The engines of a fitted estimator, whatever it is: what goes wrong leaves the original.

    `function`: which of its functions is served.
    `wanted`: whether a faster equivalent is looked for.
    `example`: rows that it can predict from.
    `natural`: makes what it takes of rows; None where they are not numbers.
    `like`: of another function of the same estimator, whose memory is shared.
    """
    original: Original = getattr(estimator, function)
    if not wanted:
        return Engines(original, "MODEL_COMPILE is no")
    if natural is None:
        return Engines(original, "its signature has columns that are no numbers, or there is none")

    def asked(matrix: Matrix) -> Answers:
        return original(natural(matrix))

    try:
        engine = find_equivalent(estimator, function, _dtypes(natural(example[:1])), like)
        with threadpool_limits(1):  # As many as there are may wait for cores that others use.
            samples = _samples(engine, asked, example, natural)
            rows = prove(engine, asked, samples)
            measured = _measure(engine, asked, samples.usual)
    except NoEngineError as reason:
        return Engines(original, str(reason))
    except Exception as error:  # noqa: BLE001 - none of them is worth a model that is refused
        structlog.get_logger().exception("model_not_compiled", model=type(estimator).__name__)
        return Engines(original, f"compiling it failed: {error!r}")
    why = f"the engine gave the answers of the original on {rows} rows"
    return Engines(original, why, engine, measured)


def _dtypes(rows: Any) -> list[np.dtype[Any]]:
    if hasattr(rows, "dtypes"):
        return [np.dtype(dtype) for dtype in rows.dtypes]
    return [rows.dtype] * rows.shape[1]


def _samples(
    engine: Equivalent,
    original: Callable[[Matrix], Answers],
    example: Matrix,
    natural: Form,
) -> Samples:
    few = np.resize(example, (64, example.shape[1]))
    rows = int(np.clip(PROOF_SECONDS / _seconds(original, few) * len(few), FEWEST_ROWS, MOST_ROWS))
    dtypes = _dtypes(natural(example[:1]))
    return make_samples(example, dtypes, engine.thresholds, rows)


def _measure(
    engine: Engine, original: Callable[[Matrix], Answers], rows: Matrix
) -> tuple[Measurement, ...]:
    measured: list[Measurement] = []
    deadline = time.thread_time() + MEASURE_SECONDS
    for size in SIZES:
        matrix = np.resize(rows, (size, rows.shape[1]))
        if time.thread_time() > deadline or (measured and measured[-1].original > CALL_SECONDS):
            break
        slow, fast = _seconds(original, matrix), _seconds(engine.predict, matrix)
        measured.append(Measurement(size, slow, fast))
    return tuple(measured)


def _seconds(predict: Callable[[Matrix], object], matrix: Matrix) -> float:
    """What a call takes of a core, however many others want it as well."""
    predict(matrix)
    calls, spent = 0, 0.0
    started = time.thread_time()
    while spent < REPEAT_SECONDS:
        predict(matrix)
        calls += 1
        spent = time.thread_time() - started
    return spent / calls
