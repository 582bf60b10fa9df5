"""A fitted model and its equivalent, side by side."""

import warnings
from dataclasses import dataclass
from typing import Any

import numpy as np
from hypothesis import strategies as st
from numpy.typing import NDArray
from sklearn.datasets import load_breast_cancer, load_iris

from api_host.compiled.engines import Answers
from api_host.compiled.equivalents import Equivalent, find_equivalent
from api_host.table import Matrix

SPECIES = np.array(["setosa", "versicolor", "virginica"])

ODD = (0.0, -0.0, 1e-300, -1.0, 1e6, 2.0**24 + 1, 1e20, 1e39, 1e308, np.nan, np.inf, -np.inf)
"""Values that engines get wrong, if they get any wrong."""


def iris() -> tuple[Matrix, NDArray[Any]]:
    """Four columns, three species."""
    data, target = load_iris(return_X_y=True)
    return data, SPECIES[target]


def cancer() -> tuple[Matrix, NDArray[Any]]:
    """Eight columns, two classes."""
    data, target = load_breast_cancer(return_X_y=True)
    return data[:, :8], target


def with_gaps(matrix: Matrix) -> Matrix:
    """The same, with a tenth of the values missing."""
    chosen = np.random.default_rng(0).random(matrix.shape) < 0.1
    return np.where(chosen, np.nan, matrix)


@dataclass(frozen=True)
class Twins:
    """`original` is a fitted model; `dtype`: of the arrays that it is given."""

    original: Any
    function: str
    engine: Equivalent
    dtype: Any = np.float64

    @classmethod
    def of(cls, fitted: Any, function: str = "predict", dtype: Any = np.float64) -> "Twins":
        """Finds the equivalent."""
        width = fitted.n_features_in_
        return cls(
            fitted, function, find_equivalent(fitted, function, [np.dtype(dtype)] * width), dtype
        )

    def ask(self, rows: Matrix) -> Answers:
        """What the original says. Raises what it raises."""
        answers: Answers = getattr(self.original, self.function)(rows.astype(self.dtype))
        return answers

    def assert_equal(self, rows: Matrix) -> bool:
        """Whether the engine answered; fails if it said anything but what the original says."""
        with warnings.catch_warnings(), np.errstate(all="ignore"):
            warnings.simplefilter("ignore")
            answers = self.engine.predict(rows)
            if answers is None:
                return False
            expected = self.ask(rows)
        assert answers.dtype == expected.dtype
        assert answers.shape == expected.shape
        if expected.dtype.kind == "f":
            tolerance = 1e-9 if expected.dtype == np.float64 else 1e-5
            np.testing.assert_allclose(answers, expected, rtol=tolerance, atol=1e-12)
        else:
            assert answers.tolist() == expected.tolist()
        return True


def rows_near(twins: Twins, known: Matrix) -> st.SearchStrategy[Matrix]:
    """Rows of known values, values beside the thresholds of the model, and odd ones."""
    columns = [_values(known[:, index], twins, index) for index in range(known.shape[1])]
    row = st.tuples(*columns)
    return st.lists(row, min_size=1, max_size=5).map(lambda rows: np.array(rows, dtype=float))


def _values(known: Matrix, twins: Twins, column: int) -> st.SearchStrategy[float]:
    usual = known[np.isfinite(known)][:20].tolist()
    exact = twins.engine.thresholds(column)[:200]
    single = exact.astype(np.float32)
    beside = [
        exact,
        np.nextafter(exact, np.inf),
        np.nextafter(exact, -np.inf),
        single.astype(float),
        np.nextafter(single, np.float32(np.inf)).astype(float),
        (single.astype(float) + np.nextafter(single, np.float32(np.inf)).astype(float)) / 2,
    ]
    near = np.concatenate(beside).tolist()
    choices = [st.sampled_from(usual), st.sampled_from(usual), st.sampled_from(near or usual)]
    return (
        st.one_of(*choices, st.floats(-1e3, 1e3), st.sampled_from(ODD))
        if near
        else st.one_of(*choices, st.sampled_from(ODD))
    )
