"""The models that are tried: a linear one, a forest, and gradient boosting.

Each is a pipeline that does no more than the columns need, since every step costs at each
prediction: nothing is encoded where all are numbers, nothing is filled in where none is missing.
"""

from collections.abc import Callable
from typing import Any

import pandas as pd
from sklearn.compose import ColumnTransformer
from sklearn.ensemble import (
    GradientBoostingClassifier,
    GradientBoostingRegressor,
    RandomForestClassifier,
    RandomForestRegressor,
)
from sklearn.impute import SimpleImputer
from sklearn.linear_model import LogisticRegression, Ridge
from sklearn.pipeline import Pipeline, make_pipeline
from sklearn.preprocessing import OneHotEncoder, StandardScaler

from airflow_host.training.plan import Kind
from airflow_host.training.samples import Samples

SEED = 0
"""The same table makes the same model, also where a task is run again."""

MOST_CATEGORIES = 20
"""Rarer values of a text column share one column of their own."""

MOST_LEAVES = 10_000
"""Of a tree in the forest: what it may take in memory and on disk, however long the table."""

TRUSTED_TYPES = ("numpy.dtype", "sklearn.tree._tree.Tree")
"""What skops may load in these pipelines beyond what it trusts by itself. No code hides in them."""

_ESTIMATORS: dict[tuple[str, Kind], Callable[..., Any]] = {
    ("linear", "classification"): LogisticRegression,
    ("linear", "regression"): Ridge,
    ("forest", "classification"): RandomForestClassifier,
    ("forest", "regression"): RandomForestRegressor,
    ("boosting", "classification"): GradientBoostingClassifier,
    ("boosting", "regression"): GradientBoostingRegressor,
}


def fit(candidate: str, learned: Samples) -> Pipeline:
    """A candidate that has learned from these rows."""
    estimator = _ESTIMATORS[candidate, learned.kind](
        **_options(candidate, learned.kind, rows=len(learned.target))
    )
    steps = [*_preparation(learned.features, scale=candidate == "linear"), (candidate, estimator)]
    return Pipeline(steps).fit(learned.features, learned.target)


def parameters(pipeline: Pipeline) -> dict[str, Any]:
    """What the model was made with, for its run in MLflow."""
    estimator = pipeline[-1]
    return {"estimator": type(estimator).__name__, **estimator.get_params(deep=False)}


def _options(candidate: str, kind: Kind, *, rows: int) -> dict[str, Any]:
    if candidate == "forest":
        smallest_leaf = 1 + rows // MOST_LEAVES
        return {"n_estimators": 100, "min_samples_leaf": smallest_leaf, "random_state": SEED}
    if candidate == "boosting":
        return {"n_estimators": 100, "random_state": SEED}
    return {"max_iter": 1000} if kind == "classification" else {}


def _preparation(features: pd.DataFrame, *, scale: bool) -> list[tuple[str, Any]]:
    numbers = list(features.select_dtypes("float64"))
    flags = list(features.select_dtypes("bool"))
    texts = [name for name in features if name not in numbers and name not in flags]
    missing = [name for name in numbers if features[name].hasnans]
    whole = [name for name in numbers if name not in missing]
    if not (flags or texts or missing):
        return [("scale", StandardScaler())] if scale else []
    fill = SimpleImputer(strategy="median", keep_empty_features=True)
    keep = StandardScaler() if scale else "passthrough"
    encode = OneHotEncoder(
        handle_unknown="infrequent_if_exist", max_categories=MOST_CATEGORIES, sparse_output=False
    )
    parts = [
        ("numbers", keep, whole),
        ("incomplete", make_pipeline(fill, StandardScaler()) if scale else fill, missing),
        ("flags", OneHotEncoder(drop="if_binary", sparse_output=False), flags),
        ("texts", encode, texts),
    ]
    return [("prepare", ColumnTransformer([part for part in parts if part[-1]]))]
