"""Fitted trees of scikit-learn as flat arrays: every split and every leaf of all of them.

Trees and forests compare columns that were rounded to float32, histogram gradient boosting does
not. Thresholds of the former are moved to where float64 begins to round to the other side: then
columns need no rounding, and no row changes its side.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import chain
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray
from sklearn.dummy import DummyClassifier, DummyRegressor
from sklearn.ensemble import (
    ExtraTreesClassifier,
    ExtraTreesRegressor,
    GradientBoostingClassifier,
    GradientBoostingRegressor,
    HistGradientBoostingClassifier,
    HistGradientBoostingRegressor,
    RandomForestClassifier,
    RandomForestRegressor,
)
from sklearn.tree import (
    DecisionTreeClassifier,
    DecisionTreeRegressor,
    ExtraTreeClassifier,
    ExtraTreeRegressor,
)
from sklearn.utils import get_tags

from api_host.compiled.engines import NoEngineError

FORESTS = (
    RandomForestClassifier,
    RandomForestRegressor,
    ExtraTreesClassifier,
    ExtraTreesRegressor,
)
TREES = (DecisionTreeClassifier, DecisionTreeRegressor, ExtraTreeClassifier, ExtraTreeRegressor)
BOOSTINGS = (GradientBoostingClassifier, GradientBoostingRegressor)
HISTOGRAMS = (HistGradientBoostingClassifier, HistGradientBoostingRegressor)

MOST_NODES = 1_000_000
"""Of all trees of a model together; some 300 MB while it is compiled."""

_LEAF = -1
_BINARY = 2


@dataclass(frozen=True)
class Tree:
    """One tree, an item a node; the root is the first.

    `left`: the node for what is not above the threshold, or the other; -1 for a leaf.
    `gaps_left`: whether NaN goes to the left.
    `values`: what a leaf adds to the score.
    """

    feature: NDArray[Any]
    threshold: NDArray[np.float64]
    gaps_left: NDArray[Any]
    left: NDArray[Any]
    right: NDArray[Any]
    values: NDArray[np.float64]

    @classmethod
    def constant(cls, value: float) -> Self:
        """A tree that is a leaf."""
        none = np.array([_LEAF])
        return cls(none, np.zeros(1), np.zeros(1, np.bool_), none, none, np.array([value]))


@dataclass(frozen=True)
class Ensemble:
    """Trees whose leaves are summed, one sum a target; in the order in which they are added.

    `trees`: with the target of each.
    `targets`: how many sums there are.
    `takes_gaps`: whether NaN is let through to the trees.
    """

    trees: Sequence[tuple[Tree, int]]
    targets: int
    takes_gaps: bool

    @property
    def is_exact(self) -> bool:
        """Whether sums of leaves are without rounding, in whatever order they are added."""
        return all(bool((tree.values[~_splits(tree)] % 1 == 0).all()) for tree, _ in self.trees)

    def thresholds(self, column: int) -> NDArray[np.float64]:
        """Where the trees split a column."""
        found = [tree.threshold[_splits(tree) & (tree.feature == column)] for tree, _ in self.trees]
        return np.unique(np.concatenate(found))


def _splits(tree: Tree) -> NDArray[np.bool_]:
    splits: NDArray[np.bool_] = tree.left != _LEAF
    return splits


def read_ensemble(estimator: Any) -> Ensemble | None:
    """The trees of a fitted estimator; None if it has none that we know how to read."""
    kind = type(estimator)
    if kind in {*TREES, *FORESTS}:
        return _forest(estimator)
    if kind in BOOSTINGS:
        return _boosting(estimator)
    if kind in HISTOGRAMS:
        return _histogram(estimator)
    return None


def _forest(estimator: Any) -> Ensemble:
    if estimator.n_outputs_ > 1:
        raise NoEngineError(
            f"a {type(estimator).__name__} of several answers a row has no faster equivalent"
        )
    is_forest = isinstance(estimator, FORESTS)
    members = estimator.estimators_ if is_forest else [estimator]
    classes = getattr(estimator, "n_classes_", 1)
    # Of two classes, the second is enough: the first is the rest.
    targets = range(1, 2) if is_forest and classes == _BINARY else range(classes)
    _refuse_large(sum(member.tree_.node_count for member in members) * len(targets))
    trees = [
        (tree, target)
        for member in members
        for target, tree in enumerate(_split_tree(member.tree_, targets))
    ]
    return Ensemble(trees, len(targets), get_tags(members[0]).input_tags.allow_nan)


def _boosting(estimator: Any) -> Ensemble:
    _refuse_large(sum(member.tree_.node_count for member in estimator.estimators_.flat))
    trees = [
        (_split_tree(member.tree_, [0], estimator.learning_rate)[0], target)
        for stage in estimator.estimators_
        for target, member in enumerate(stage)
    ]
    start = _start(estimator, estimator.estimators_.shape[1])
    return Ensemble([*_constants(start), *trees], len(start), takes_gaps=False)


def _start(estimator: Any, targets: int) -> NDArray[np.float64]:
    """The scores to which the first trees of gradient boosting add."""
    if isinstance(estimator.init_, str):
        return np.zeros(targets)
    if type(estimator.init_) not in {DummyClassifier, DummyRegressor}:
        raise NoEngineError(f"a {type(estimator).__name__} with an init has no faster equivalent")
    row = np.zeros((1, estimator.n_features_in_), np.float32)
    start: NDArray[np.float64] = estimator._raw_predict_init(row)[0]  # noqa: SLF001
    return start


def _histogram(estimator: Any) -> Ensemble:
    if estimator.is_categorical_ is not None:
        raise NoEngineError(
            f"a {type(estimator).__name__} with categories has no faster equivalent"
        )
    rounds = estimator._predictors  # noqa: SLF001 - there is no public way to the trees
    _refuse_large(sum(len(predictor.nodes) for predictor in chain.from_iterable(rounds)))
    trees = [
        (_histogram_tree(predictor.nodes), target)
        for predictors in rounds
        for target, predictor in enumerate(predictors)
    ]
    start = np.ravel(estimator._baseline_prediction)  # noqa: SLF001
    return Ensemble([*_constants(start), *trees], len(start), takes_gaps=True)


def _constants(scores: Iterable[float]) -> list[tuple[Tree, int]]:
    return [(Tree.constant(score), target) for target, score in enumerate(scores)]


def _refuse_large(nodes: int) -> None:
    if nodes > MOST_NODES:
        raise NoEngineError(f"its trees have {nodes:,} nodes; up to {MOST_NODES:,} are compiled")


def _split_tree(tree: Any, targets: Iterable[int], scale: float = 1.0) -> list[Tree]:
    """A tree for each target, which differ in the values of their leaves only."""
    thresholds = before_rounding(tree.threshold)
    return [
        Tree(
            feature=tree.feature,
            threshold=thresholds,
            gaps_left=tree.missing_go_to_left,
            left=tree.children_left,
            right=tree.children_right,
            values=scale * tree.value[:, 0, target],
        )
        for target in targets
    ]


def _histogram_tree(nodes: NDArray[Any]) -> Tree:
    leaf = nodes["is_leaf"].astype(np.bool_)
    return Tree(
        feature=nodes["feature_idx"],
        threshold=nodes["num_threshold"],
        gaps_left=nodes["missing_go_to_left"],
        left=np.where(leaf, _LEAF, nodes["left"].astype(np.int64)),
        right=np.where(leaf, _LEAF, nodes["right"].astype(np.int64)),
        values=nodes["value"],
    )


def before_rounding(thresholds: NDArray[np.float64]) -> NDArray[np.float64]:
    """For each threshold, the largest number that is not above it once rounded to float32."""
    nearest = thresholds.astype(np.float32)
    under = np.where(nearest > thresholds, np.nextafter(nearest, np.float32(-np.inf)), nearest)
    over = np.nextafter(under, np.float32(np.inf))
    middle = (under.astype(np.float64) + over.astype(np.float64)) / 2
    is_even = under.view(np.uint32) % 2 == 0  # A number in the middle rounds to the even side.
    return np.where(is_even, middle, np.nextafter(middle, -np.inf))
