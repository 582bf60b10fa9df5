"""Predicts with the trees of an XGBoost model, by the runtime that other trees have.

XGBoost itself is not part of this host: it is 17 MB, and a spoiled file ends its process. What its
file says is read here and checked; rows are compared in float32, as XGBoost does.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pandas as pd
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
from api_host.models.flavors.ubjson import read_ubjson
from api_host.schema import Signature
from api_host.table import Matrix, Natural

Floats = NDArray[np.float32]
_HALF = 0.5


def _logit(chances: NDArray[Any]) -> NDArray[Any]:
    return -np.log(1 / chances - 1)


def _largest(margins: NDArray[Any]) -> NDArray[Any]:
    largest: NDArray[Any] = margins.argmax(axis=1)
    return largest


OBJECTIVES: Mapping[str, tuple[Answer, Answer]] = {
    **dict.fromkeys(
        (
            "reg:squarederror",
            "reg:absoluteerror",
            "reg:pseudohubererror",
            "rank:ndcg",
            "rank:pairwise",
        ),
        (identity, identity),
    ),
    **dict.fromkeys(("binary:logistic", "reg:logistic"), (_logit, sigmoid)),
    **dict.fromkeys(("count:poisson", "reg:gamma", "reg:tweedie"), (np.log, np.exp)),
    "multi:softprob": (identity, softmax),
    "multi:softmax": (identity, _largest),
}
"""What becomes of the base score, and of the sums of the leaves."""


class XgboostModel:
    """A model in memory, asked as MLflow asks a booster.

    `names`: of its columns; none if it learned from an array.
    `width`: how many columns it takes.
    """

    def __init__(self, document: Any, *, stops_early: bool) -> None:
        learner = document["learner"]
        objective = learner["objective"]["name"]
        if objective not in OBJECTIVES:
            known = ", ".join(OBJECTIVES)
            raise ModelRefusedError(f"its objective is {objective}, and only {known} are served")
        to_margin, self._answer = OBJECTIVES[objective]
        parameters = learner["learner_model_param"]
        if int(parameters.get("num_target", "1")) != 1:
            raise ModelRefusedError("it predicts several targets, which is not served")
        self.names = [str(name) for name in learner.get("feature_names", ())]
        self.width = int(parameters["num_feature"])
        targets = max(1, int(parameters["num_class"]))
        base = np.array([float(each) for each in parameters["base_score"].strip("[]").split(",")])
        with np.errstate(all="ignore"):
            self._base = to_margin(base)
        if len(base) not in (1, targets) or self.width < 1 or not np.isfinite(self._base).all():
            raise ValueError("its parameters do not fit together")
        self._sums = open_trees(
            _ensemble(learner, self.width, targets, stops_early=stops_early), self.width
        )

    def predict(self, data: Natural | Matrix) -> NDArray[Any]:
        """Its predictions: values or, of several classes, a row of them each."""
        return self._predictions(data)

    def _predictions(self, data: Natural | Matrix) -> Floats:
        with np.errstate(over="ignore"):
            matrix = self._matrix(data).astype(np.float32)
            if np.isinf(matrix).any():
                raise ValueError("the rows hold infinity, or a number too large for float32")
            margins = (self._sums(matrix.astype(np.float64)) + self._base).astype(np.float32)
            return self._answer(margins).astype(np.float32)

    def _matrix(self, data: Natural | Matrix) -> NDArray[Any]:
        if isinstance(data, pd.DataFrame) and self.names and list(data.columns) != self.names:
            raise ValueError(f"the columns must be {', '.join(self.names)}, in this order")
        return matrix_of(data, self.width)


class XgboostClassifier(XgboostModel):
    """The same as scikit-learn's interface has it: classes are predicted, not what they are by.

    `classes_`: their numbers.
    """

    def __init__(self, document: Any, *, stops_early: bool) -> None:
        super().__init__(document, stops_early=stops_early)
        parameters = document["learner"]["learner_model_param"]
        self.classes_ = np.arange(max(2, int(parameters["num_class"])))

    def predict(self, data: Natural | Matrix) -> NDArray[Any]:
        """The number of the class of each row."""
        found = self._predictions(data)
        return found.argmax(axis=1) if found.ndim > 1 else (found > _HALF).astype(np.int64)

    def predict_proba(self, data: Natural | Matrix) -> Floats:
        """The probability of each class."""
        found = self._predictions(data)
        return found if found.ndim > 1 else np.column_stack([1 - found, found])


def read_model(
    path: Path, signature: Signature | None, *, classifies: bool, stops_early: bool
) -> XgboostModel:
    """The model of a file. Raises `ModelRefusedError`.

    `classifies`: whether classes are predicted.
    `stops_early`: whether only the trees up to the best iteration predict.
    """
    text = path.read_bytes()
    try:
        document = msgspec.json.decode(text) if text[1:2] in b'"\n ' else read_ubjson(text)
        kind = XgboostClassifier if classifies else XgboostModel
        model = kind(document, stops_early=stops_early)
        if classifies and not document["learner"]["objective"]["name"].endswith(
            ("binary:logistic", "multi:softprob")
        ):
            raise ModelRefusedError("its objective gives no probabilities, and it is a classifier")
    except (ValueError, LookupError, TypeError, AttributeError, RecursionError) as error:
        raise ModelRefusedError(f"its file {path.name} cannot be read: {error!r}") from None
    if signature is not None:
        _check(model, signature)
    return model


def _check(model: XgboostModel, signature: Signature) -> None:
    names = [column.name for column in signature.columns]
    if len(names) != model.width:
        raise ModelRefusedError(
            f"it takes {model.width} columns, and its signature has {len(names)}"
        )
    if model.names and names != model.names:
        raise ModelRefusedError(
            f"its columns are {', '.join(model.names)}, and its signature has others"
        )


def _ensemble(learner: Any, width: int, targets: int, *, stops_early: bool) -> Ensemble:
    booster = learner["gradient_booster"]
    if booster["name"] != "gbtree":
        raise ModelRefusedError(f"its booster is {booster['name']}, and only gbtree is served")
    trees, targets_of = booster["model"]["trees"], booster["model"]["tree_info"]
    best = learner.get("attributes", {}).get("best_iteration")
    if stops_early and best is not None:
        end = int(booster["model"]["iteration_indptr"][int(best) + 1])
        trees, targets_of = trees[:end], targets_of[:end]
    if not trees or len(trees) != len(targets_of):
        raise ValueError("it has no trees")
    if sum(len(tree["left_children"]) for tree in trees) > MOST_NODES:
        raise ModelRefusedError(f"its trees have more than {MOST_NODES} nodes")
    numbered = [
        (_tree(tree, width), int(target)) for tree, target in zip(trees, targets_of, strict=True)
    ]
    if any(not 0 <= target < targets for _, target in numbered):
        raise ValueError("one of its trees is for a class that it does not have")
    return Ensemble(numbered, targets, takes_gaps=True)


def _tree(tree: Mapping[str, Any], width: int) -> Tree:
    left, right = _array(tree, "left_children", np.int64), _array(tree, "right_children", np.int64)
    order = reached(left, right)
    conditions = _array(tree, "split_conditions", np.float32)
    feature = _array(tree, "split_indices", np.int64)
    default = _array(tree, "default_left", np.bool_)
    if len({len(each) for each in (left, right, conditions, feature, default)}) > 1:
        raise ValueError("the parts of a tree are not of one length")
    if len(tree.get("categories", ())) or any(tree.get("split_type", ())):
        raise ModelRefusedError("its trees split by categories, which is not served")
    number = np.full(len(left) + 1, -1)  # The last is for the -1 of leaves.
    number[order] = np.arange(len(order))
    left, right, feature = left[order], right[order], feature[order]
    split = left >= 0
    if not np.isfinite(conditions[order]).all():
        raise ValueError("one of its trees has a number that is none")
    if ((feature < 0) | (feature >= width))[split].any():
        raise ValueError("one of its trees splits a column that is not there")
    # What is below goes left there, and what is not above does here.
    below = np.nextafter(conditions[order], np.float32(-np.inf)).astype(np.float64)
    return Tree(
        feature=feature,
        threshold=below,
        gaps_left=default[order],
        left=number[left],
        right=number[right],
        values=conditions[order].astype(np.float64),
    )


def _array(tree: Mapping[str, Any], name: str, dtype: type[Any]) -> NDArray[Any]:
    values: Sequence[Any] = tree[name]
    array = np.asarray(values)
    if array.ndim != 1 or (len(array) and array.dtype.kind not in "biuf"):
        raise ValueError(f"{name} are no numbers")
    return array.astype(dtype)
