"""Models of XGBoost in its own formats, which hold trees and numbers and no code."""

from collections.abc import Collection, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec

from api_host.compiled.engines import Engines
from api_host.errors import ModelRefusedError
from api_host.models.flavors.flavor import plain_name
from api_host.schema import Signature

if TYPE_CHECKING:
    from api_host.models.flavors.xgboost_model import XgboostModel

BOOSTER = "xgboost.core.Booster"
CLASSIFIERS = ("xgboost.sklearn.XGBClassifier", "xgboost.sklearn.XGBRFClassifier")
OTHERS = tuple(f"xgboost.sklearn.XGB{name}" for name in ("Regressor", "RFRegressor", "Ranker"))


class XgboostFlavor(msgspec.Struct, frozen=True):
    """What `mlflow.xgboost` writes of a model."""

    data: str = "model.ubj"
    model_class: str = BOOSTER

    name = "xgboost"
    platform = "xgboost_ubj"
    is_pickle = False

    @property
    def file(self) -> str:
        """The name of the file that holds the trees."""
        return plain_name(self.data)

    def check_format(self, *, pickles: bool) -> None:  # noqa: ARG002 - none is one
        """Raises `ModelRefusedError` if it is of a class that is not known."""
        if self.model_class not in (BOOSTER, *CLASSIFIERS, *OTHERS):
            raise ModelRefusedError(f"it is a {self.model_class}, which this host does not know")

    def further_files(self, folder: Path) -> Sequence[str]:  # noqa: ARG002
        """None: all is in one file."""
        return ()

    def load(
        self, folder: Path, trusted: Collection[str], signature: Signature | None  # noqa: ARG002
    ) -> "XgboostModel":
        """The model, whose trees were looked through."""
        # Imported here: whoever has no such model needs none of it.
        from api_host.models.flavors.xgboost_model import read_model  # noqa: PLC0415

        return read_model(
            folder / self.file,
            signature,
            classifies=self.model_class in CLASSIFIERS,
            stops_early=self.model_class != BOOSTER,
        )

    def engines(self, model: "XgboostModel", function: str, signature: Signature | None) -> Engines:
        """The runtime of trees, whatever the rows are."""
        from api_host.models.flavors.boosted import engines_of  # noqa: PLC0415

        return engines_of(getattr(model, function), signature)
