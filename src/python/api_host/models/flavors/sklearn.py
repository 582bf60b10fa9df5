"""Models of scikit-learn: files of skops, which run no code, and pickles where they are allowed."""

from collections.abc import Collection, Sequence
from pathlib import Path
from typing import Any

import cloudpickle  # type: ignore[import-untyped]
import msgspec
import skops.io
from skops.io.exceptions import UntrustedTypesFoundException

from api_host.compiled.engines import Engines
from api_host.errors import ModelRefusedError
from api_host.models import soundness
from api_host.models.flavors.flavor import plain_name
from api_host.models.mapped import map_arrays
from api_host.schema import Signature

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


class SklearnFlavor(msgspec.Struct, frozen=True):
    """What `mlflow.sklearn` writes of a model."""

    pickled_model: str
    serialization_format: str = "pickle"
    sklearn_version: str = ""

    name = "sklearn"
    platform = "sklearn_skops"

    @property
    def file(self) -> str:
        """The name of the file that holds the model."""
        return plain_name(self.pickled_model)

    @property
    def is_pickle(self) -> bool:
        """Whether that file runs code when it is loaded."""
        return self.serialization_format != "skops"

    def check_format(self, *, pickles: bool) -> None:
        """Raises `ModelRefusedError` if that file may not be loaded."""
        if not self.is_pickle:
            return
        form = self.serialization_format
        if form not in PICKLES:
            raise ModelRefusedError(f"its format is {form!r}, which this host does not know")
        if not pickles:
            raise ModelRefusedError(
                f"its format is {form}, which runs code when it is loaded;"
                " log it with serialization_format='skops', the default of mlflow.sklearn, or name"
                " the model in MODEL_ALLOW_PICKLE if you trust all who can write it"
            )

    def further_files(self, folder: Path) -> Sequence[str]:  # noqa: ARG002
        """None: all is in one file."""
        return ()

    def load(
        self, folder: Path, trusted: Collection[str], signature: Signature | None  # noqa: ARG002
    ) -> Any:
        """The estimator, whose arrays are shared with other workers."""
        path = folder / self.file
        types = TRUSTED_TYPES.union(trusted)
        estimator = _unpickle(path) if self.is_pickle else _load(path, types)
        soundness.check(estimator)
        map_arrays(estimator, folder)
        return estimator

    def engines(
        self, model: Any, function: str, signature: Signature | None  # noqa: ARG002
    ) -> Engines | None:
        """An equivalent is to be looked for."""
        return None


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
