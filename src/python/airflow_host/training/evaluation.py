"""How good a model is on rows that it has not seen, in the metrics' usual names."""

import numpy as np
import pandas as pd
from sklearn.metrics import (
    accuracy_score,
    f1_score,
    log_loss,
    mean_absolute_error,
    r2_score,
    roc_auc_score,
    root_mean_squared_error,
)
from sklearn.pipeline import Pipeline

from airflow_host.training.samples import Samples


def evaluate(pipeline: Pipeline, held_out: Samples) -> dict[str, float]:
    """The metrics of a model, by name."""
    predictions = pipeline.predict(held_out.features)
    if held_out.kind == "regression":
        return _of_numbers(held_out.target, predictions)
    probabilities = pipeline.predict_proba(held_out.features)
    return _of_classes(held_out.target, predictions, probabilities, pipeline.classes_)


def primary(held_out: Samples, predictions: np.ndarray) -> float:
    """The one metric by which models are compared: accuracy of classes, RMSE of numbers."""
    if held_out.kind == "regression":
        return float(root_mean_squared_error(held_out.target, predictions))
    return float(accuracy_score(held_out.target, predictions))


def _of_classes(
    truth: pd.Series, predictions: np.ndarray, probabilities: np.ndarray, classes: np.ndarray
) -> dict[str, float]:
    binary = len(classes) == 2  # noqa: PLR2004
    return {
        "accuracy": float(accuracy_score(truth, predictions)),
        "f1_macro": float(f1_score(truth, predictions, average="macro")),
        "log_loss": float(log_loss(truth, probabilities, labels=classes)),
        "roc_auc": float(
            roc_auc_score(truth, probabilities[:, 1])
            if binary
            else roc_auc_score(truth, probabilities, multi_class="ovr", labels=classes)
        ),
    }


def _of_numbers(truth: pd.Series, predictions: np.ndarray) -> dict[str, float]:
    return {
        "rmse": float(root_mean_squared_error(truth, predictions)),
        "mae": float(mean_absolute_error(truth, predictions)),
        "r2": float(r2_score(truth, predictions)),
    }
