"""A model in memory: loaded from a copy without running its code, then asked for predictions."""

import json
import math
import time
from collections.abc import Callable, Collection
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import cloudpickle  # type: ignore[import-untyped]
import msgspec
import numpy as np
import pandas as pd
import skops.io
from skops.io.exceptions import UntrustedTypesFoundException

from api_host.compiled.compilation import compile_model
from api_host.compiled.engines import Engines
from api_host.errors import ApiError, ModelRefusedError
from api_host.models import soundness
from api_host.models.mapped import map_arrays
from api_host.models.mlmodel import parse
from api_host.models.probabilities import PREDICT, PREDICT_PROBA
from api_host.parameters import UNKNOWN, Parameters, compile_parameters
from api_host.schema import Signature, compile_signature
from api_host.table import Natural, Table

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


PICKLES = ("pickle", "cloudpickle")
"""MLflow's formats that run code."""


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
    params: str | None = None


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
        return _file_name(flavor.pickled_model)

    @property
    def is_pickle(self) -> bool:
        """Whether the model's file runs code when it is loaded."""
        flavor = self.flavors.sklearn
        return flavor is not None and flavor.serialization_format != "skops"

    def check_format(self, *, pickles: bool) -> None:
        """Raises `ModelRefusedError` if its file may not be loaded."""
        if not self.is_pickle or self.flavors.sklearn is None:
            return
        form = self.flavors.sklearn.serialization_format
        if form not in PICKLES:
            raise ModelRefusedError(f"its format is {form!r}, which this host does not know")
        if not pickles:
            raise ModelRefusedError(
                f"its format is {form}, which runs code when it is loaded;"
                " log it with serialization_format='skops', the default of mlflow.sklearn, or name"
                " the model in MODEL_ALLOW_PICKLE if you trust all who can write it"
            )

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
        return msgspec.convert(parse(text), Description)
    except msgspec.ValidationError as error:
        raise ModelRefusedError(f"its MLmodel file cannot be understood: {error}") from None


@dataclass(frozen=True)
class Trial:
    """How a model did on its own input example.

    `joins`: whether rows of several requests may be given to it in one call.
    `seconds`: that one row took.
    """

    joins: bool
    seconds: float


@dataclass(frozen=True)
class Model:
    """A model that is ready to predict.

    `signature`: what it takes; None if it was logged without one.
    `inputs`, `outputs`: the same as MLflow writes it, for callers to read.
    `example`: rows that were logged with it: objects where the columns have names, else arrays.
    `trial`: how it did on them; None if there are none.
    `parameters`: what it says of the `params` of a request.
    `engines`: what predicts: itself, or a faster equivalent.
    `function`: of the estimator, which is what it predicts.
    `classes`: what its probabilities are of, in their order; None if it has none.
    `probabilities`: makes the model that predicts them; None if it has none, or is that itself.
    """

    signature: Signature | None
    inputs: Any
    outputs: Any
    example: list[Any]
    trial: Trial | None
    engines: Engines
    parameters: Parameters = UNKNOWN
    function: str = PREDICT
    classes: list[Any] | None = None
    probabilities: "ModelOfProbabilities | None" = None

    @property
    def joins(self) -> bool:
        """Whether rows of several requests may be given to it in one call."""
        return self.trial is not None and self.trial.joins

    def seconds(self, rows: int) -> float:
        """How long a prediction of so many rows takes at most."""
        measured = self.engines.seconds(rows)
        if measured is not None:
            return measured
        return self.trial.seconds * rows if self.trial else math.inf

    def predict(self, table: Table) -> Any:
        """The predictions, one a row."""
        return self.engines.predict(table)


def load(
    folder: Path, trusted: Collection[str] = (), *, compiles: bool = True, pickles: bool = False
) -> Model:
    """Loads a model and lets it predict once, so that its first caller does not wait.

    `compiles`: whether a faster equivalent of it is looked for.
    `pickles`: whether its file may run code.
    """
    try:
        return _build(folder, trusted, compiles=compiles, pickles=pickles)
    except (ApiError, OSError, MemoryError):
        raise
    except Exception as error:
        # A file can break it in ways that nobody foresaw, and will again.
        raise ModelRefusedError(f"it does not load: {error!r}") from error


def _build(folder: Path, trusted: Collection[str], *, compiles: bool, pickles: bool) -> Model:
    description = describe((folder / "MLmodel").read_bytes())
    description.check_format(pickles=pickles)
    path = folder / description.file
    unpickles = description.is_pickle
    estimator = _unpickle(path) if unpickles else _load(path, TRUSTED_TYPES.union(trusted))
    soundness.check(estimator)
    map_arrays(estimator, folder)
    function = description.flavors.python_function.predict_fn
    if function not in ("predict", "predict_proba", "predict_log_proba"):
        raise ModelRefusedError(f"its function is {function}, and predict is what is served")
    if not hasattr(estimator, function):
        raise ModelRefusedError(f"a {type(estimator).__name__} has no {function}")
    described = description.signature or _Signature()
    signature = compile_signature(described.inputs)
    example = _example(folder / description.example) if description.example else []
    trial = _try(getattr(estimator, function), signature, example) if example else None
    model = Model(
        signature,
        _decoded(described.inputs),
        _decoded(described.outputs),
        example,
        trial,
        _engines(estimator, function, signature, example, wanted=compiles),
        compile_parameters(described.params),
        function,
    )
    if not hasattr(estimator, PREDICT_PROBA):
        return model
    model = replace(model, classes=_classes(estimator))
    if function == PREDICT_PROBA:
        return model
    return replace(model, probabilities=ModelOfProbabilities(model, estimator, compiles=compiles))


class ModelOfProbabilities:
    """Makes a model that predicts the probabilities of the classes that another one predicts."""

    def __init__(self, model: Model, estimator: Any, *, compiles: bool) -> None:
        self._model = replace(model, function=PREDICT_PROBA)
        self._estimator = estimator
        self._compiles = compiles

    def as_it_is(self) -> Model:
        """It answers one request after the other, as nothing is known of it yet."""
        engines = Engines(self._estimator.predict_proba, "an engine is being looked for")
        return replace(self._model, engines=engines, trial=None)

    def compiled(self) -> Model:
        """It was tried on its example, and a faster equivalent was looked for: that takes time."""
        model, predict = self._model, self._estimator.predict_proba
        engines = _engines(
            self._estimator,
            PREDICT_PROBA,
            model.signature,
            model.example,
            wanted=self._compiles,
            like=model.engines,
        )
        trial = _try(predict, model.signature, model.example) if model.example else None
        return replace(model, engines=engines, trial=trial)


def _classes(estimator: Any) -> list[Any]:
    """Of several things predicted, a list for each; none where it does not say, as mixtures."""
    classes = getattr(estimator, "classes_", np.empty(0))
    return [each.tolist() for each in classes] if isinstance(classes, list) else classes.tolist()


def _engines(
    estimator: Any,
    function: str,
    signature: Signature | None,
    example: list[Any],
    *,
    wanted: bool,
    like: Engines | None = None,
) -> Engines:
    rows, form = np.zeros((1, 0)), None
    if signature is not None and signature.numeric:
        form = signature.form
        given = signature.from_rows(example).matrix if example else None
        rows = np.zeros((1, len(signature.columns))) if given is None else given
    engine = like.engine if like else None
    return compile_model(
        estimator, function, wanted=wanted, example=rows, natural=form, like=engine
    )


def _example(path: Path) -> list[Any]:
    try:
        split = json.loads(path.read_bytes())  # Not msgspec: MLflow writes NaN into it.
        names, rows = split.get("columns"), split["data"]
        return [dict(zip(names, row, strict=True)) for row in rows] if names else list(rows)
    except (OSError, ValueError, LookupError, TypeError, AttributeError) as error:
        raise ModelRefusedError(f"its input example cannot be read: {error!r}") from None


def _try(
    predict: Callable[[Natural], Any], signature: Signature | None, example: list[Any]
) -> Trial:
    try:
        if signature is None:
            predict(pd.DataFrame(example))
            return Trial(joins=False, seconds=math.inf)
        together = predict(signature.from_rows(example).natural())
        one = signature.from_rows(example[:1])
        start = time.perf_counter()
        alone = predict(one.natural())
        seconds = time.perf_counter() - start
    except Exception as error:
        raise ModelRefusedError(f"it cannot predict from its own input example: {error}") from error
    return Trial(joins=_same(together, alone, 1), seconds=seconds)


def _same(together: Any, alone: Any, rows: int) -> bool:
    """Whether the first rows got the same predictions as without the others."""
    if isinstance(together, list):
        pairs = zip(together, alone, strict=True)
        return all(_same(all_of_it, part, rows) for all_of_it, part in pairs)
    first, part = np.asarray(together)[:rows], np.asarray(alone)
    if first.shape != part.shape:
        return False
    if first.dtype.kind == "f":
        return bool(np.allclose(first, part, equal_nan=True))
    return np.array_equal(first, part)


def _unpickle(path: Path) -> Any:
    try:
        with path.open("rb") as file:
            return cloudpickle.load(file)  # It runs whatever it holds: an operator named it.
    except (OSError, MemoryError):
        raise
    except Exception as error:
        raise ModelRefusedError(f"its file {path.name} cannot be read: {error!r}") from error


def _load(path: Path, trusted: Collection[str]) -> Any:
    soundness.check_file(path)
    try:
        return skops.io.load(path, trusted=sorted(trusted))
    except UntrustedTypesFoundException as error:
        unknown = set(skops.io.get_untrusted_types(file=path)).difference(trusted)
        names = ", ".join(sorted(unknown)) or str(error)
        raise ModelRefusedError(
            f"it holds {names}, which is not trusted; if you trust it, add it to"
            " MODEL_TRUSTED_TYPES"
        ) from None
    except (OSError, MemoryError):
        raise
    except Exception as error:
        raise ModelRefusedError(f"its file {path.name} cannot be read: {error!r}") from error


def _decoded(text: str | None) -> Any:
    return None if text is None else msgspec.json.decode(text)
