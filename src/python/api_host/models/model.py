"""A model in memory: loaded from a copy without running its code, then asked for predictions."""

import json
import math
import time
from collections.abc import Callable, Collection
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pandas as pd

from api_host.answers import TensorMetadata
from api_host.compiled.compilation import compile_model
from api_host.compiled.engines import Engines
from api_host.errors import ApiError, ModelRefusedError
from api_host.models.description import DescribedSignature, describe
from api_host.models.flavors.flavor import Flavor
from api_host.models.probabilities import PREDICT, PREDICT_PROBA
from api_host.outputs import Outputs
from api_host.parameters import UNKNOWN, Parameters, compile_parameters
from api_host.schema import Signature, compile_signature
from api_host.table import Natural, Table

FUNCTIONS = (PREDICT, PREDICT_PROBA, "predict_log_proba")


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
    `flavor`, `platform`: its format, as MLflow and as v2 name it.
    `tensors`: its outputs, if it names them itself; else only their signature is known.
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
    flavor: str = "sklearn"
    platform: str = "sklearn_skops"
    tensors: list[TensorMetadata] | None = None
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
    flavor, function = description.flavor, description.function
    flavor.check_format(pickles=pickles)
    described = description.signature or DescribedSignature()
    signature = compile_signature(described.inputs)
    estimator = flavor.load(folder, trusted, signature)
    if function not in FUNCTIONS:
        raise ModelRefusedError(f"its function is {function}, and predict is what is served")
    if not hasattr(estimator, function):
        raise ModelRefusedError(f"a {type(estimator).__name__} has no {function}")
    example = _example(folder / description.example) if description.example else []
    trial = _try(getattr(estimator, function), signature, example) if example else None
    model = Model(
        signature,
        _decoded(described.inputs),
        _decoded(described.outputs),
        example,
        trial,
        flavor.engines(estimator, function, signature)
        or _engines(estimator, function, signature, example, wanted=compiles),
        compile_parameters(described.params),
        function,
        flavor=flavor.name,
        platform=flavor.platform,
        tensors=getattr(estimator, "tensors", None),
    )
    if not hasattr(estimator, PREDICT_PROBA):
        return model
    model = replace(model, classes=_classes(estimator))
    if function == PREDICT_PROBA:
        return model
    probabilities = ModelOfProbabilities(model, estimator, flavor, compiles=compiles)
    return replace(model, probabilities=probabilities)


class ModelOfProbabilities:
    """Makes a model that predicts the probabilities of the classes that another one predicts."""

    def __init__(self, model: Model, estimator: Any, flavor: Flavor, *, compiles: bool) -> None:
        self._model = replace(model, function=PREDICT_PROBA)
        self._flavor = flavor
        self._estimator = estimator
        self._compiles = compiles

    def as_it_is(self) -> Model:
        """It answers one request after the other, as nothing is known of it yet."""
        engines = Engines(self._estimator.predict_proba, "an engine is being looked for")
        return replace(self._model, engines=engines, trial=None)

    def compiled(self) -> Model:
        """It was tried on its example, and a faster equivalent was looked for: that takes time."""
        model, predict = self._model, self._estimator.predict_proba
        of_flavor = self._flavor.engines(self._estimator, PREDICT_PROBA, model.signature)
        engines = of_flavor or _engines(
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
    if isinstance(together, Outputs):
        together, alone = ([*each.as_tensors().values()] for each in (together, alone))
    if isinstance(together, list):
        pairs = zip(together, alone, strict=True)
        return all(_same(all_of_it, part, rows) for all_of_it, part in pairs)
    first, part = np.atleast_1d(together)[:rows], np.asarray(alone)
    if first.shape != part.shape:
        return False
    if first.dtype.kind == "f":
        return bool(np.allclose(first, part, equal_nan=True))
    return np.array_equal(first, part)


def _decoded(text: str | None) -> Any:
    return None if text is None else msgspec.json.decode(text)
