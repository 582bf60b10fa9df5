"""Trees as an ONNX model, run by ONNX Runtime: a forest's row in microseconds, not milliseconds.

The operator is `TreeEnsemble` of ai.onnx.ml 5, which reads, compares and adds float64. A model is
a protobuf message of few fields, written here: the package that would do it is larger than it.
"""

from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray
from sklearn._loss.link import IdentityLink, LogLink
from sklearn.base import is_classifier

from api_host.compiled.engines import NoEngineError
from api_host.compiled.onnx_session import INPUT, OUTPUT, open_session
from api_host.compiled.protobuf import message, packed
from api_host.compiled.scores import (
    Answer,
    by_largest,
    by_sign,
    by_sign_or_zero,
    complement,
    logarithm,
    sigmoid,
    softmax,
)
from api_host.compiled.trees import BOOSTINGS, HISTOGRAMS, Ensemble, Tree

Scores = NDArray[np.float64]

_IR_VERSION = 10
_ONNX, _ML = 21, 5
"""The versions of the two sets of operators."""

_FLOAT64, _UINT8 = 11, 2
_TYPE_INT, _TYPE_TENSOR, _TYPE_INTS = 2, 4, 7
_SUM, _NOT_ABOVE = 1, 0

TIE = 1e-9
"""Nearer to one half than this, which of two classes is more likely is a matter of rounding."""

MANY_ROWS, FEWEST_TREES = 256, 32
"""From where on it costs less to put rows in order than it saves: a tenth to a quarter."""


def open_trees(ensemble: Ensemble, width: int) -> Callable[[NDArray[Any]], Scores]:
    """The sums of the leaves that rows of so many columns come to."""
    scores = _session(write_onnx(ensemble, width), ensemble.targets)
    is_worth_it = len(ensemble.trees) >= max(FEWEST_TREES, width)
    return _in_order(scores, _most_asked(ensemble)) if is_worth_it else scores


def answer_of_trees(
    scores: Callable[[NDArray[Any]], Scores], ensemble: Ensemble, estimator: Any, function: str
) -> Callable[[NDArray[Any]], NDArray[Any] | None]:
    """The kernel of a function of a fitted estimator, whose trees are `ensemble`."""
    if type(estimator) in {*BOOSTINGS, *HISTOGRAMS}:
        answer = _boosted(estimator, ensemble.targets, function)
        return lambda matrix: answer(scores(matrix))
    return _averaged(scores, ensemble, estimator, function)


def _session(model: bytes, targets: int) -> Callable[[NDArray[Any]], Scores]:
    """Runs a model; a single target gives a flat array."""
    run = open_session(model)
    return (lambda matrix: run(matrix).reshape(-1)) if targets == 1 else run


def _in_order(scores: Callable[[NDArray[Any]], Scores], column: int) -> Callable[..., Scores]:
    """The same, with rows that are alike one after the other.

    They go the same ways in most trees, and the processor guesses these from the row before.
    """

    def ordered(matrix: NDArray[Any]) -> Scores:
        if len(matrix) < MANY_ROWS:
            return scores(matrix)
        order = matrix[:, column].argsort()
        found = scores(matrix[order])
        answers = np.empty_like(found)
        answers[order] = found
        return answers

    return ordered


def _most_asked(ensemble: Ensemble) -> int:
    """The column that most trees look at first."""
    first = [tree.feature[0] for tree, _ in ensemble.trees if tree.left[0] >= 0]
    return int(np.bincount(np.array(first, np.int64), minlength=1).argmax())


def _boosted(estimator: Any, targets: int, function: str) -> Answer:
    if not is_classifier(estimator):
        return _mean(estimator) if type(estimator) in HISTOGRAMS else _same
    if function == "predict" and targets > 1:
        return by_largest(estimator.classes_)
    if function == "predict":
        by = by_sign if type(estimator) in HISTOGRAMS else by_sign_or_zero
        return by(estimator.classes_)
    chances: Answer = softmax if targets > 1 else sigmoid
    if getattr(estimator, "loss", None) == "exponential":
        chances = _twice
    return logarithm(chances) if function == "predict_log_proba" else chances


def _mean(estimator: Any) -> Answer:
    link = estimator._loss.link  # noqa: SLF001 - no public name says which loss has which
    if isinstance(link, IdentityLink):
        return _same
    if isinstance(link, LogLink):
        return np.exp
    raise NoEngineError(f"a {type(link).__name__} has no faster equivalent")


def _same(scores: NDArray[Any]) -> NDArray[Any]:
    return scores


def _twice(scores: NDArray[Any]) -> NDArray[Any]:
    return sigmoid(2 * scores)


def _averaged(
    scores: Callable[[NDArray[Any]], Scores], ensemble: Ensemble, estimator: Any, function: str
) -> Callable[[NDArray[Any]], NDArray[Any] | None]:
    members = len(ensemble.trees) // ensemble.targets
    if not is_classifier(estimator):
        return lambda matrix: scores(matrix) / members
    if ensemble.targets > 1:
        answer: Answer = by_largest(estimator.classes_) if function == "predict" else _same
        answer = logarithm(answer) if function == "predict_log_proba" else answer
        return lambda matrix: answer(scores(matrix) / members)
    if len(estimator.classes_) == 1:
        raise NoEngineError("it knows one class only")
    if function == "predict":
        return _majority(scores, members, estimator.classes_, is_exact=ensemble.is_exact)
    chances = logarithm(complement) if function == "predict_log_proba" else complement
    return lambda matrix: chances(scores(matrix) / members)


def _majority(
    scores: Callable[[NDArray[Any]], Scores],
    members: int,
    classes: NDArray[Any],
    *,
    is_exact: bool,
) -> Callable[[NDArray[Any]], NDArray[Any] | None]:
    half = members / 2
    tie = TIE * members

    def majority(matrix: NDArray[Any]) -> NDArray[Any] | None:
        lead = scores(matrix) - half
        if not is_exact and np.abs(lead).min(initial=half) < tie:
            return None
        return classes.take(lead > 0)

    return majority


def write_onnx(ensemble: Ensemble, width: int) -> bytes:
    """An ONNX model of one node, that takes [rows, width] and gives [rows, targets].

    The numbers of the fields are those of onnx.proto.
    """
    node = message(
        (1, INPUT.encode()),
        (2, OUTPUT.encode()),
        (4, b"TreeEnsemble"),
        *((5, attribute) for attribute in _attributes(ensemble)),
        (7, b"ai.onnx.ml"),
    )
    ends = (11, _described(INPUT, width)), (12, _described(OUTPUT, ensemble.targets))
    graph = message((1, node), (2, b"trees"), *ends)
    return message(
        (1, _IR_VERSION),
        (7, graph),
        (8, message((1, b""), (2, _ONNX))),
        (8, message((1, b"ai.onnx.ml"), (2, _ML))),
    )


def _described(name: str, columns: int) -> bytes:
    rows = message((2, b"rows"))
    shape = message((1, rows), (1, message((1, columns))))
    return message((1, name.encode()), (2, message((1, message((1, _FLOAT64), (2, shape))))))


def _attributes(ensemble: Ensemble) -> list[bytes]:
    splits, leaves = _flat(ensemble)
    return [
        _int("aggregate_function", _SUM),
        _int("n_targets", ensemble.targets),
        _int("post_transform", 0),
        _ints("tree_roots", splits["roots"]),
        _ints("nodes_featureids", splits["feature"]),
        _tensor("nodes_splits", splits["threshold"], _FLOAT64),
        _tensor("nodes_modes", np.full(len(splits["feature"]), _NOT_ABOVE, np.uint8), _UINT8),
        _ints("nodes_missing_value_tracks_true", splits["gaps_left"]),
        _ints("nodes_trueleafs", splits["left_is_leaf"]),
        _ints("nodes_truenodeids", splits["left"]),
        _ints("nodes_falseleafs", splits["right_is_leaf"]),
        _ints("nodes_falsenodeids", splits["right"]),
        _ints("leaf_targetids", leaves["target"]),
        _tensor("leaf_weights", leaves["value"], _FLOAT64),
    ]


def _flat(ensemble: Ensemble) -> tuple[dict[str, NDArray[Any]], dict[str, NDArray[Any]]]:
    """All splits and all leaves, which ONNX numbers apart."""
    splits: list[dict[str, NDArray[Any]]] = []
    leaves: list[dict[str, NDArray[Any]]] = []
    first_split = first_leaf = 0
    for tree, target in ensemble.trees:
        more_splits, more_leaves = _numbered(tree, first_split, first_leaf)
        more_splits["roots"] = np.array([first_split])
        more_leaves["target"] = np.full(len(more_leaves["value"]), target)
        first_split += len(more_splits["feature"])
        first_leaf += len(more_leaves["value"])
        splits.append(more_splits)
        leaves.append(more_leaves)
    return _joined(splits), _joined(leaves)


def _joined(parts: list[dict[str, NDArray[Any]]]) -> dict[str, NDArray[Any]]:
    return {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}


def _numbered(
    tree: Tree, first_split: int, first_leaf: int
) -> tuple[dict[str, NDArray[Any]], dict[str, NDArray[Any]]]:
    is_leaf = tree.left < 0
    if is_leaf[0]:  # ONNX wants a split at the root: here one whose sides are the same leaf.
        both = {"left": np.array([first_leaf]), "right": np.array([first_leaf])}
        marks = {name: np.ones(1, np.int64) for name in ("left_is_leaf", "right_is_leaf")}
        zero = {name: np.zeros(1, np.int64) for name in ("feature", "gaps_left")}
        return both | marks | zero | {"threshold": np.zeros(1)}, {"value": tree.values[:1]}
    split = ~is_leaf
    number = np.where(
        is_leaf, np.cumsum(is_leaf) + (first_leaf - 1), np.cumsum(split) + (first_split - 1)
    )
    left, right = tree.left[split], tree.right[split]
    return {
        "feature": tree.feature[split],
        "threshold": tree.threshold[split],
        "gaps_left": tree.gaps_left[split],
        "left": number[left],
        "left_is_leaf": is_leaf[left],
        "right": number[right],
        "right_is_leaf": is_leaf[right],
    }, {"value": tree.values[is_leaf]}


def _int(name: str, value: int) -> bytes:
    return message((1, name.encode()), (3, value), (20, _TYPE_INT))


def _ints(name: str, values: NDArray[Any]) -> bytes:
    return message((1, name.encode()), (8, packed(values)), (20, _TYPE_INTS))


def _tensor(name: str, values: NDArray[Any], kind: int) -> bytes:
    raw = np.ascontiguousarray(values).tobytes()
    tensor = message((1, len(values)), (2, kind), (9, raw))
    return message((1, name.encode()), (5, tensor), (20, _TYPE_TENSOR))
