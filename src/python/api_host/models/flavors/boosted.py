"""What models of boosted trees have in common, whichever library they are from."""

from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from api_host.compiled.engines import Engines
from api_host.schema import Signature
from api_host.table import Matrix, Natural

Answer = Callable[[NDArray[Any]], NDArray[Any]]


def identity(sums: NDArray[Any]) -> NDArray[Any]:
    """The sums of the leaves themselves."""
    return sums


def sigmoid(sums: NDArray[Any]) -> NDArray[Any]:
    """The probability of the second of two classes."""
    chances: NDArray[Any] = 1 / (1 + np.exp(-sums))
    return chances


def softmax(sums: NDArray[Any]) -> NDArray[Any]:
    """The probability of each class."""
    shares: NDArray[Any] = np.exp(sums - sums.max(axis=1, keepdims=True))
    shares /= shares.sum(axis=1, keepdims=True)
    return shares


def matrix_of(data: Natural | Matrix, width: int) -> NDArray[Any]:
    """Rows of so many numbers. Raises `ValueError`."""
    matrix = np.asarray(data)
    if matrix.dtype.kind not in "biuf" or matrix.ndim != len("nk"):
        raise ValueError(f"it takes numbers in {width} columns, and is given others")
    if matrix.shape[1] != width:
        raise ValueError(f"it takes {width} columns, and is given {matrix.shape[1]}")
    return matrix


def reached(left: NDArray[np.int64], right: NDArray[np.int64]) -> NDArray[np.int64]:
    """The nodes of a tree, from its root. Raises `ValueError` if it leads nowhere.

    `left`, `right`: the nodes below each; -1 for both of a leaf.
    """
    seen = np.zeros(len(left), np.bool_)
    levels = [np.zeros(1, np.int64)]
    while len(levels[-1]):
        level = levels[-1]
        if level.min() < 0 or level.max() >= min(len(left), len(right)):
            raise ValueError("one of its trees leads out of itself")
        if seen[level].any() or len(np.unique(level)) < len(level):
            raise ValueError("one of its trees has a circle")
        seen[level] = True
        split = level[(left[level] != -1) | (right[level] != -1)]
        levels.append(np.concatenate([left[split], right[split]]))
    return np.concatenate(levels)


class Numbers:
    """A function of a model, of rows that are numbers in its order."""

    name = "onnxruntime"

    def __init__(self, answer: Callable[[Matrix], NDArray[Any]]) -> None:
        self._answer = answer

    def predict(self, matrix: Matrix) -> NDArray[Any] | None:
        """What the model says; None where it is to say what is wrong."""
        try:
            return self._answer(matrix)
        except ValueError:
            return None


def engines_of(answer: Callable[[Any], NDArray[Any]], signature: Signature | None) -> Engines:
    """The runtime of trees, which answers whatever the rows are."""
    numbers = Numbers(answer) if signature is not None and signature.numeric else None
    why = "the trees of the model are a graph that onnxruntime predicts with"
    return Engines(answer, why, numbers, itself="onnxruntime")
