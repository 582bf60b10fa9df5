"""Trains the models that all servers are asked for, and registers them in MLflow.

    PEX_INTERPRETER=1 dist/mlflow_host.pex benchmarks/serving/training.py URI FOLDER NAME...

It runs in the environment of the MLflow host, which has all of MLflow and scikit-learn. Below
FOLDER each model gets a folder NAME, which is what the registry holds, and a file NAME.json: its
columns, rows to ask about, and the right answers.
"""

import json
import sys
from importlib.metadata import version
from pathlib import Path
from typing import Any

import mlflow
import numpy as np
from mlflow.models import infer_signature
from sklearn.base import ClassifierMixin
from sklearn.datasets import load_breast_cancer, load_iris
from sklearn.ensemble import (
    GradientBoostingClassifier,
    HistGradientBoostingClassifier,
    RandomForestClassifier,
)
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

ALIAS = "champion"
ROWS = 4000
EXAMPLE_ROWS = 5
SEED = 7
REQUIREMENTS = ("numpy", "pandas", "scikit-learn", "skops")
TRUSTED_TYPES = [
    "numpy.dtype",
    "sklearn.ensemble._hist_gradient_boosting.predictor.TreePredictor",
    "sklearn.tree._tree.Tree",
]

TABLES = {4: load_iris, 30: load_breast_cancer}


def estimators() -> dict[str, ClassifierMixin]:
    """What is trained, by the first part of its name."""
    return {
        "logistic": make_pipeline(StandardScaler(), LogisticRegression(max_iter=1000)),
        "forest": RandomForestClassifier(n_estimators=100, random_state=SEED),
        "boosting": GradientBoostingClassifier(random_state=SEED),
        "histogram": HistGradientBoostingClassifier(random_state=SEED),
    }


def train(name: str, folder: Path) -> None:
    """Trains and registers one model; `name` is for instance "forest-30"."""
    kind, columns = name.split("-")
    table = TABLES[int(columns)](as_frame=True)
    labels = np.array(table.target_names)[table.target]
    model: Any = estimators()[kind]
    model.fit(table.data, labels)
    mlflow.set_experiment("serving")
    with mlflow.start_run(run_name=name):
        mlflow.sklearn.log_model(
            model,
            name=name,
            registered_model_name=name,
            signature=infer_signature(table.data, labels),
            input_example=table.data.head(EXAMPLE_ROWS),
            pip_requirements=_requirements(),
            skops_trusted_types=TRUSTED_TYPES,
        )
    mlflow.MlflowClient().set_registered_model_alias(name, ALIAS, "1")
    mlflow.artifacts.download_artifacts(f"models:/{name}@{ALIAS}", dst_path=str(folder / name))
    random = np.random.default_rng(SEED)
    rows = table.data.sample(ROWS, replace=True, random_state=SEED)
    rows = (rows * random.normal(1, 0.05, rows.shape)).round(4)
    document = {
        "name": name,
        "columns": list(rows.columns),
        "rows": rows.to_numpy().tolist(),
        "answers": model.predict(rows).tolist(),
    }
    (folder / f"{name}.json").write_text(json.dumps(document))


def _requirements() -> list[str]:
    return [f"mlflow=={version('mlflow')}", *(f"{it}=={version(it)}" for it in REQUIREMENTS)]


if __name__ == "__main__":
    mlflow.set_tracking_uri(sys.argv[1])
    for each in sys.argv[3:]:
        train(each, Path(sys.argv[2]))
