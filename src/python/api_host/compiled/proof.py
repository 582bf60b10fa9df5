"""Whether an engine gives the answers of the original: on many rows, alone and together."""

from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from api_host.compiled.engines import Answers, Engine, NoEngineError
from api_host.compiled.samples import Samples
from api_host.table import Matrix

RTOL, ATOL = 1e-6, 1e-9
"""How far numbers may be apart: by this share of the larger, or this much."""

_ALONE = 32
"""How many rows of each group are also asked one by one."""


def prove(engine: Engine, original: Callable[[Matrix], Answers], samples: Samples) -> int:
    """On how many rows the two were compared. Raises `NoEngineError` where they differ."""
    with np.errstate(all="ignore"):
        _agree(engine, _expected(original, samples.usual), samples.usual, "row")
        for name, rows in (("wide", samples.wide), ("incomplete", samples.gaps)):
            _agree_or_refuse(engine, original, rows, f"{name} row")
    return len(samples.usual) + len(samples.wide) + len(samples.gaps)


def _expected(original: Callable[[Matrix], Answers], rows: Matrix) -> Answers:
    try:
        return np.asarray(original(rows))
    except Exception as error:
        raise NoEngineError(f"the original refuses rows of its signature: {error}") from error


def _agree(engine: Engine, expected: Answers, rows: Matrix, what: str) -> None:
    """Together in one call, which an engine may leave to the original, and one by one."""
    together = engine.predict(rows)
    if together is not None:
        _compare(together, expected, what)
    answered = 0
    for index in range(min(len(rows), _ALONE)):
        alone = engine.predict(rows[index : index + 1])
        if alone is not None:
            answered += 1
            _compare(alone, expected[index : index + 1], f"{what} {index} alone, as")
    if what == "row" and not answered:
        raise NoEngineError("the engine answers none of the rows")


def _agree_or_refuse(
    engine: Engine, original: Callable[[Matrix], Answers], rows: Matrix, what: str
) -> None:
    """Rows that the original may refuse: then the engine must leave them to it."""
    try:
        expected = np.asarray(original(rows))
    except Exception:  # noqa: BLE001 - whatever it raises, a caller is to get from it
        if engine.predict(rows) is not None:
            raise NoEngineError(f"it answers where the original refuses {what}s") from None
        for index in range(min(len(rows), _ALONE)):
            _agree_alone(engine, original, rows[index : index + 1], f"{what} {index}")
    else:
        _agree(engine, expected, rows, what)


def _agree_alone(
    engine: Engine, original: Callable[[Matrix], Answers], row: Matrix, what: str
) -> None:
    answer = engine.predict(row)
    if answer is None:
        return
    try:
        expected = np.asarray(original(row))
    except Exception:  # noqa: BLE001 - as above
        raise NoEngineError(f"it answers where the original refuses {what}") from None
    _compare(answer, expected, f"{what}, as")


def _compare(answer: Answers, expected: Answers, what: str) -> None:
    if (answer.dtype, answer.shape) != (expected.dtype, expected.shape):
        raise NoEngineError(
            f"it gives {answer.dtype} of {answer.shape}, the original {expected.dtype} of"
            f" {expected.shape}"
        )
    equal = _equal(answer, expected).reshape(len(expected), -1).all(axis=1)
    if not equal.all():
        row = int(np.argmin(equal))
        raise NoEngineError(
            f"it differs from the original by {_distance(answer[row], expected[row])}"
            f" at {what} {row}"
        )


def _equal(answer: Answers, expected: Answers) -> NDArray[np.bool_]:
    if expected.dtype.kind == "f":
        return np.isclose(answer, expected, rtol=RTOL, atol=ATOL, equal_nan=True)
    return np.asarray(answer == expected)


def _distance(answer: Any, expected: Any) -> str:
    if np.asarray(expected).dtype.kind == "f":
        return f"{np.abs(np.asarray(answer) - expected).max():.3g}"
    return f"a label ({answer} for {expected})"
