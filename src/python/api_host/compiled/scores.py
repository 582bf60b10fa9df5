"""From the scores of a model to what it answers: labels, probabilities and their logarithms."""

from collections.abc import Callable
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray
from scipy.special import expit

Scores: TypeAlias = NDArray[Any]
"""A number a row, or one a row and class."""

Answer: TypeAlias = Callable[[Scores], NDArray[Any]]


def by_sign(classes: NDArray[Any]) -> Answer:
    """The second of two labels where the score is above zero."""
    return lambda scores: classes.take(scores > 0)


def by_sign_or_zero(classes: NDArray[Any]) -> Answer:
    """The second of two labels where the score is not below zero."""
    return lambda scores: classes.take(scores >= 0)


def by_largest(classes: NDArray[Any]) -> Answer:
    """The label whose score is the largest, the first of these."""
    return lambda scores: classes.take(scores.argmax(axis=1))


def sigmoid(scores: Scores) -> NDArray[Any]:
    """The probabilities of two classes from the score of the second."""
    return complement(expit(scores))


def complement(second: Scores) -> NDArray[Any]:
    """The probabilities of two classes from that of the second."""
    both = np.empty((len(second), 2), second.dtype)
    both[:, 1] = second
    np.subtract(1, second, out=both[:, 0])
    return both


def sigmoids(scores: Scores) -> NDArray[Any]:
    """The probabilities of classes that were each told from all others."""
    each: NDArray[Any] = expit(scores)
    total = each.sum(axis=1).reshape(-1, 1)
    if not total.all():
        each[total[:, 0] == 0] = 1  # Told from none: all are as likely.
        total = each.sum(axis=1).reshape(-1, 1)
    each /= total
    return each


def softmax(scores: Scores) -> NDArray[Any]:
    """The probabilities of classes that were told from each other."""
    powers: NDArray[Any] = np.exp(scores - scores.max(axis=1).reshape(-1, 1))
    powers /= powers.sum(axis=1).reshape(-1, 1)
    return powers


def logarithm(answer: Answer) -> Answer:
    """The logarithms of what `answer` gives."""
    return lambda scores: np.log(answer(scores))
