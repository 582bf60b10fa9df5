"""Predicts with the trees of a LightGBM model, by the runtime that other trees have.

LightGBM itself is not part of this host: it needs a library (libgomp1) that a plain server does not
have. The text that its `Booster.save_model` writes is read here and checked. Rows are compared in
float64, as LightGBM does; its source, `include/LightGBM/tree.h`, says how.
"""

from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from api_host.compiled.onnx_trees import open_trees
from api_host.compiled.trees import MOST_NODES, Ensemble, Tree
from api_host.errors import ModelRefusedError
from api_host.models.flavors.boosted import (
    Answer,
    identity,
    matrix_of,
    reached,
    sigmoid,
    softmax,
)
from api_host.schema import Signature
from api_host.table import Matrix, Natural

Fields = Mapping[str, str]

ANSWERS: Mapping[str, Answer] = {
    **dict.fromkeys(
        (
            "none", "regression", "regression_l1", "huber", "fair", "quantile", "mape",
            "lambdarank", "rank_xendcg",
        ),
        identity,
    ),
    "cross_entropy": sigmoid,
    "multiclass": softmax,
    **dict.fromkeys(("poisson", "gamma", "tweedie"), np.exp),
}  # fmt: skip
"""What becomes of the sums of the leaves, by the objective."""

SCALED = ("binary", "multiclassova")
"""Objectives whose sums pass through a sigmoid that has a scale."""

OPTIONS = ("num_class", "sigmoid", "tweedie_variance_power")

_NOUGHT = float(np.float32(1e-35))
"""Nothing is nearer to 0: the same number is where its trees split 0 off."""

_CATEGORICAL, _DEFAULT_LEFT = 1, 2
_MISSING, _NONE, _ZERO = 2, 0, 1
"""Of the type of a decision: the first bit of what counts as missing, and two values of it."""


class LightgbmModel:
    """A model in memory, asked as MLflow asks a booster.

    `width`: how many columns it takes.
    """

    def __init__(self, text: str) -> None:
        head, trees, tail = _parts(text)
        if tail.get("pandas_categorical", "null") not in ("null", "[]") or "\0" in text:
            raise ModelRefusedError("its trees split by categories, which is not served")
        self.width = int(head["max_feature_idx"]) + 1
        targets = int(head["num_tree_per_iteration"])
        if self.width < 1 or targets < 1 or not trees or len(trees) % targets:
            raise ValueError("its parameters do not fit together")
        if sum(int(tree["num_leaves"]) for tree in trees) > MOST_NODES // 2:
            raise ModelRefusedError(f"its trees have more than {MOST_NODES} nodes")
        self._answer = _answer(head.get("objective", "none"), targets)
        # Of a random forest, whose trees each predict by themselves.
        self._share = targets / len(trees) if "average_output" in head else 1.0
        numbered = [(_tree(tree, self.width), at % targets) for at, tree in enumerate(trees)]
        self._sums = open_trees(Ensemble(numbered, targets, takes_gaps=True), self.width)

    def predict(self, data: Natural | Matrix) -> NDArray[Any]:
        """Its predictions: values or, of several classes, a row of them each."""
        matrix = matrix_of(data, self.width).astype(np.float64)
        matrix[np.abs(matrix) <= _NOUGHT] = 0.0
        with np.errstate(over="ignore"):
            return self._answer(self._sums(matrix) * self._share)


def read_model(path: Path, signature: Signature | None) -> LightgbmModel:
    """The model of a file. Raises `ModelRefusedError`."""
    try:
        model = LightgbmModel(path.read_text(encoding="utf-8"))
    except (ValueError, LookupError, OverflowError) as error:
        raise ModelRefusedError(f"its file {path.name} cannot be read: {error!r}") from None
    if signature is not None and len(signature.columns) != model.width:
        raise ModelRefusedError(
            f"it takes {model.width} columns, and its signature has {len(signature.columns)}"
        )
    return model


def _parts(text: str) -> tuple[Fields, Sequence[Fields], Fields]:
    """What is said of all trees, each tree, and what is said after them."""
    lines = iter(text.splitlines())
    if next(lines, "") != "tree":
        raise ValueError("it does not begin as a model of LightGBM")
    head: dict[str, str] = {}
    tail: dict[str, str] = {}
    trees: list[dict[str, str]] = []
    part = head
    for line in lines:
        key, separator, value = line.partition(":" if part is tail else "=")
        if key == "Tree":
            part = {}
            trees.append(part)
        elif line == "end of trees":
            part = tail
        elif separator or line == "average_output":
            part[key] = value
    if part is not tail:
        raise ValueError("it ends before its trees do")
    return head, trees, tail


def _answer(objective: str, targets: int) -> Answer:
    name, *words = objective.split()
    options = {key: value for key, _, value in (word.partition(":") for word in words)}
    if name not in (*ANSWERS, *SCALED) or not options.keys() <= set(OPTIONS):
        known = ", ".join(sorted((*ANSWERS, *SCALED)))
        raise ModelRefusedError(f"its objective is {objective}, and only {known} are served")
    if (name.startswith("multiclass")) != (targets > 1) and name != "none":
        raise ValueError("its objective does not fit to the number of its classes")
    if name not in SCALED:
        return ANSWERS[name]
    scale = float(options["sigmoid"])
    if not 0 < scale < np.inf:
        raise ValueError("the scale of its sigmoid is no number")
    return partial(_scaled, scale)


def _scaled(scale: float, sums: NDArray[Any]) -> NDArray[Any]:
    return sigmoid(scale * sums)


def _tree(fields: Fields, width: int) -> Tree:
    if fields.get("is_linear", "0") != "0":
        raise ModelRefusedError("its trees have a linear model in each leaf, which is not served")
    leaves = _numbers(fields, "leaf_value", int(fields["num_leaves"]))
    if len(leaves) == 1:
        return Tree.constant(float(leaves[0]))
    inner = len(leaves) - 1
    kinds = _whole(fields, "decision_type", inner)
    if (kinds & _CATEGORICAL).any():
        raise ModelRefusedError("its trees split by categories, which is not served")
    missing = kinds >> _MISSING & 3
    if (missing == _ZERO).any():
        raise ModelRefusedError("its trees take 0 for a missing value, which is not served")
    feature, threshold = _whole(fields, "split_feature", inner), _numbers(
        fields, "threshold", inner
    )
    if ((feature < 0) | (feature >= width)).any():
        raise ValueError("one of its trees splits a column that is not there")
    left, right = (_children(fields, name, inner) for name in ("left_child", "right_child"))
    if len(reached(left, right)) < len(left):
        raise ValueError("one of its trees has a part that nothing leads to")
    # What was nowhere missing when a tree was made counts as 0.
    gaps_left = np.where(missing == _NONE, threshold >= 0, kinds & _DEFAULT_LEFT != 0)
    none = np.zeros(len(leaves))
    return Tree(
        feature=np.concatenate([feature, none - 1]).astype(np.int64),
        threshold=np.concatenate([threshold, none]),
        gaps_left=np.concatenate([gaps_left, none]).astype(np.bool_),
        left=left,
        right=right,
        values=np.concatenate([np.zeros(inner), leaves]),
    )


def _children(fields: Fields, name: str, inner: int) -> NDArray[np.int64]:
    """The nodes below each: leaves, which the file numbers by themselves, come after the others."""
    found = _whole(fields, name, inner)
    below = np.where(found < 0, inner + ~found, found)
    return np.concatenate([below, np.full(inner + 1, -1)])


def _whole(fields: Fields, name: str, count: int) -> NDArray[np.int64]:
    numbers = _numbers(fields, name, count)
    if (numbers % 1 != 0).any() or (np.abs(numbers) > 2**31).any():
        raise ValueError(f"{name} are no whole numbers")
    return numbers.astype(np.int64)


def _numbers(fields: Fields, name: str, count: int) -> NDArray[np.float64]:
    numbers = np.array(fields[name].split(), dtype=np.float64)
    if count < 1 or len(numbers) != count or not np.isfinite(numbers).all():
        raise ValueError(f"{name} are not {count} numbers")
    return numbers
