"""Models of LightGBM in its own format, which holds trees and numbers and no code."""

from collections.abc import Collection, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec

from api_host.compiled.engines import Engines
from api_host.errors import ModelRefusedError
from api_host.models.flavors.flavor import plain_name
from api_host.schema import Signature

if TYPE_CHECKING:
    from api_host.models.flavors.lightgbm_model import LightgbmModel

BOOSTER = "lightgbm.basic.Booster"


class LightgbmFlavor(msgspec.Struct, frozen=True):
    """What `mlflow.lightgbm` writes of a model."""

    data: str = "model.lgb"
    model_class: str = BOOSTER

    name = "lightgbm"
    platform = "lightgbm_text"
    is_pickle = False

    @property
    def file(self) -> str:
        """The name of the file that holds the trees."""
        return plain_name(self.data)

    def check_format(self, *, pickles: bool) -> None:  # noqa: ARG002 - none is served
        """Raises `ModelRefusedError` unless it is a booster."""
        if self.model_class != BOOSTER:
            raise ModelRefusedError(
                f"it is a {self.model_class}, which MLflow writes in a form that only LightGBM"
                " reads; log its booster: mlflow.lightgbm.log_model(model.booster_)"
            )

    def further_files(self, folder: Path) -> Sequence[str]:  # noqa: ARG002
        """None: all is in one file."""
        return ()

    def load(
        self, folder: Path, trusted: Collection[str], signature: Signature | None  # noqa: ARG002
    ) -> "LightgbmModel":
        """The model, whose trees were looked through."""
        # Imported here: whoever has no such model needs none of it.
        from api_host.models.flavors.lightgbm_model import read_model  # noqa: PLC0415

        return read_model(folder / self.file, signature)

    def engines(
        self, model: "LightgbmModel", function: str, signature: Signature | None
    ) -> Engines:
        """The runtime of trees, whatever the rows are."""
        from api_host.models.flavors.boosted import engines_of  # noqa: PLC0415

        return engines_of(getattr(model, function), signature)
