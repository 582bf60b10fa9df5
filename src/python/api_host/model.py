"""A model in memory: loaded from a copy without running its code, then asked for predictions."""

import json
from collections.abc import Collection
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import msgspec
import pandas as pd
import skops.io
import yaml  # type: ignore[import-untyped]
from skops.io.exceptions import UntrustedTypesFoundException

from api_host.errors import ModelRefusedError
from api_host.schema import Signature, Table, compile_signature

TRUSTED_TYPES = frozenset(
    {
        "numpy.dtype",
        "sklearn.calibration._CalibratedClassifier",
        "sklearn.calibration._SigmoidCalibration",
        "sklearn.ensemble._hist_gradient_boosting.predictor.TreePredictor",
        "sklearn.gaussian_process.kernels.ConstantKernel",
        "sklearn.gaussian_process.kernels.Product",
        "sklearn.gaussian_process.kernels.RBF",
        "sklearn.metrics._dist_metrics.EuclideanDistance64",
        "sklearn.neighbors._kd_tree.KDTree",
        "sklearn.neural_network._stochastic_optimizers.AdamOptimizer",
        "sklearn.tree._tree.Tree",
    }
)
"""Types of scikit-learn's own that hold data only, and that skops does not trust by itself."""


class _SklearnFlavor(msgspec.Struct, frozen=True):
    pickled_model: str
    serialization_format: str = "pickle"
    sklearn_version: str = ""


class _PythonFunction(msgspec.Struct, frozen=True):
    predict_fn: str = "predict"


class _Flavors(msgspec.Struct, frozen=True):
    sklearn: _SklearnFlavor | None = None
    python_function: _PythonFunction = _PythonFunction()


class _Signature(msgspec.Struct, frozen=True):
    inputs: str | None = None
    outputs: str | None = None


class _Example(msgspec.Struct, frozen=True):
    artifact_path: str
    type: str = ""
    pandas_orient: str | None = None


class Description(msgspec.Struct, frozen=True):
    """What the MLmodel file says of a model."""

    flavors: _Flavors
    signature: _Signature | None = None
    saved_input_example_info: _Example | None = None

    @property
    def file(self) -> str:
        """The name of the file that holds the model."""
        flavor = self.flavors.sklearn
        if flavor is None:
            raise ModelRefusedError(
                "it was not logged with mlflow.sklearn, and only scikit-learn models are served"
            )
        if flavor.serialization_format != "skops":
            raise ModelRefusedError(
                f"its format is {flavor.serialization_format}, which runs code when it is loaded;"
                " log it with serialization_format='skops', the default of mlflow.sklearn"
            )
        return _file_name(flavor.pickled_model)

    @property
    def example(self) -> str | None:
        """The name of the file with rows that the model can predict from."""
        info = self.saved_input_example_info
        if info is None or info.type != "dataframe" or info.pandas_orient != "split":
            return None
        return _file_name(info.artifact_path)


def _file_name(name: str) -> str:
    if name in ("", ".", "..") or "/" in name:
        raise ModelRefusedError(f"its MLmodel file names {name!r}, which is not in its own folder")
    return name


def describe(text: bytes) -> Description:
    """Reads an MLmodel file."""
    try:
        return msgspec.convert(yaml.safe_load(text), Description)
    except (yaml.YAMLError, msgspec.ValidationError) as error:
        raise ModelRefusedError(f"its MLmodel file cannot be understood: {error}") from None


@dataclass(frozen=True)
class Model:
    """A model that is ready to predict.

    `signature`: what it takes; None if it was logged without one.
    `inputs`, `outputs`: the same as MLflow writes it, for callers to read.
    `example`: rows that were logged with it: objects where the columns have names, else arrays.
    """

    signature: Signature | None
    inputs: Any
    outputs: Any
    example: list[Any]
    _predict: Any

    def predict(self, table: Table) -> Any:
        """The predictions, one a row."""
        return self._predict(table)


def load(folder: Path, trusted: Collection[str] = ()) -> Model:
    """Loads a model and lets it predict once, so that its first caller does not wait."""
    description = describe((folder / "MLmodel").read_bytes())
    estimator = _load(folder / description.file, TRUSTED_TYPES.union(trusted))
    function = description.flavors.python_function.predict_fn
    if function not in ("predict", "predict_proba", "predict_log_proba"):
        raise ModelRefusedError(f"its function is {function}, and predict is what is served")
    if not hasattr(estimator, function):
        raise ModelRefusedError(f"a {type(estimator).__name__} has no {function}")
    signature = description.signature or _Signature()
    model = Model(
        compile_signature(signature.inputs),
        _decoded(signature.inputs),
        _decoded(signature.outputs),
        _example(folder / description.example) if description.example else [],
        getattr(estimator, function),
    )
    if model.example:
        _try(model)
    return model


def _example(path: Path) -> list[Any]:
    try:
        split = json.loads(path.read_bytes())  # Not msgspec: MLflow writes NaN into it.
        names, rows = split.get("columns"), split["data"]
        return [dict(zip(names, row, strict=True)) for row in rows] if names else list(rows)
    except (OSError, ValueError, LookupError, TypeError, AttributeError) as error:
        raise ModelRefusedError(f"its input example cannot be read: {error!r}") from None


def _try(model: Model) -> None:
    try:
        rows = model.example
        table = model.signature.from_rows(rows) if model.signature else pd.DataFrame(rows)
        model.predict(table)
    except Exception as error:
        raise ModelRefusedError(f"it cannot predict from its own input example: {error}") from error


def _load(path: Path, trusted: Collection[str]) -> Any:
    try:
        unknown = set(skops.io.get_untrusted_types(file=path)).difference(trusted)
        if unknown:
            raise ModelRefusedError(
                f"it holds {', '.join(sorted(unknown))}, which is not trusted; if you trust it,"
                " add it to MODEL_TRUSTED_TYPES"
            )
        return skops.io.load(path, trusted=sorted(trusted))
    except UntrustedTypesFoundException as error:
        raise ModelRefusedError(f"it holds a type that is not trusted: {error}") from None


def _decoded(text: str | None) -> Any:
    return None if text is None else msgspec.json.decode(text)
