"""Looks whether what a model file held can be walked: scikit-learn's compiled code does not look.

A tree whose nodes lead out of it, or in a circle, would end the process, or never answer.
"""

from collections.abc import Iterator
from typing import Any
from zipfile import BadZipFile, ZipFile

import numpy as np
from numpy.typing import NDArray
from sklearn.ensemble._hist_gradient_boosting.predictor import TreePredictor
from sklearn.neighbors import BallTree, KDTree
from sklearn.tree._tree import Tree

from api_host.errors import ModelRefusedError

MEBIBYTE = 1024 * 1024
MOST_TIMES_UNPACKED = 20
"""How much larger than its file a model may be; MLflow does not compress."""

ALWAYS_UNPACKED = 64 * MEBIBYTE


def check_file(path: Any) -> None:
    """Raises `ModelRefusedError` if it would become very much larger when it is read."""
    size = path.stat().st_size
    try:
        with ZipFile(path) as archive:
            unpacked = sum(member.file_size for member in archive.infolist())
    except (BadZipFile, ValueError, NotImplementedError) as error:
        raise ModelRefusedError(f"its file {path.name} cannot be read: {error}") from None
    if unpacked > max(ALWAYS_UNPACKED, MOST_TIMES_UNPACKED * size):
        raise ModelRefusedError(
            f"its file {path.name} has {size} bytes and would become {unpacked}: write it without"
            " compression"
        )


def check(estimator: Any) -> None:
    """Raises `ModelRefusedError` if one of its trees leads nowhere."""
    for part in _parts(estimator, set()):
        if isinstance(part, Tree):
            inner = part.children_left != -1
            _check_nodes(
                part.children_left[inner],
                part.children_right[inner],
                np.flatnonzero(inner),
                part.node_count,
            )
            _check_range(part.feature[inner], part.n_features)
        elif isinstance(part, TreePredictor):
            nodes = part.nodes
            inner = nodes["is_leaf"] == 0
            _check_nodes(
                nodes["left"][inner], nodes["right"][inner], np.flatnonzero(inner), len(nodes)
            )
            packed = nodes["bitset_idx"][inner & (nodes["is_categorical"] == 1)]
            _check_range(packed, len(part.raw_left_cat_bitsets))
        elif isinstance(part, KDTree | BallTree):
            data, indices, nodes, _ = map(np.asarray, part.get_arrays())
            _check_range(indices, len(data))
            _check_range(nodes["idx_start"], len(indices) + 1)
            _check_range(nodes["idx_end"], len(indices) + 1)


def _parts(value: Any, seen: set[int]) -> Iterator[Any]:
    """Everything that Python can see of a model."""
    waiting = [value]
    while waiting:
        value = waiting.pop()
        if id(value) in seen:
            continue
        seen.add(id(value))
        yield value
        if isinstance(value, dict):
            waiting += value.values()
        elif isinstance(value, list | tuple | set):
            waiting += value
        elif isinstance(value, np.ndarray):
            waiting += value.ravel().tolist() if value.dtype.hasobject else []
        else:
            waiting += getattr(value, "__dict__", {}).values()


def _check_nodes(
    left: NDArray[Any], right: NDArray[Any], parents: NDArray[Any], count: int
) -> None:
    for children in (left, right):
        _check_range(children, count)
        # Children are made after their parents: whoever goes down comes to an end.
        if np.any(children.astype(np.int64) <= parents):
            raise ModelRefusedError("one of its trees has a circle")


def _check_range(values: NDArray[Any], count: int) -> None:
    if len(values) and (values.min() < 0 or values.max() >= count):
        raise ModelRefusedError("one of its trees leads out of itself")
