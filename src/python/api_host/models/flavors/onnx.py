"""Models in ONNX: graphs, which hold operators of a closed list and no code."""

from collections.abc import Collection, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec

from api_host.compiled.engines import Engines
from api_host.models.flavors.flavor import plain_name
from api_host.schema import Signature

if TYPE_CHECKING:
    from api_host.models.flavors.onnx_model import OnnxModel


class OnnxFlavor(msgspec.Struct, frozen=True):
    """What `mlflow.onnx` writes of a model.

    The execution providers and session options that it may name as well are not asked: one thread
    of the processor predicts.
    """

    data: str = "model.onnx"

    name = "onnx"
    platform = "onnxruntime_onnx"
    is_pickle = False

    @property
    def file(self) -> str:
        """The name of the file that holds the graph."""
        return plain_name(self.data)

    def check_format(self, *, pickles: bool) -> None:
        """Nothing in it runs code."""

    def further_files(self, folder: Path) -> Sequence[str]:
        """Those with its weights, which MLflow keeps apart by default."""
        # Imported here: whoever has no such model needs none of it.
        from api_host.models.flavors.onnx_outline import read_outline  # noqa: PLC0415

        return read_outline(folder / self.file).files

    def load(
        self, folder: Path, trusted: Collection[str], signature: Signature | None  # noqa: ARG002
    ) -> "OnnxModel":
        """The model, checked before the runtime sees it."""
        from api_host.models.flavors.onnx_model import open_model  # noqa: PLC0415
        from api_host.models.flavors.onnx_outline import read_outline  # noqa: PLC0415

        path = folder / self.file
        read_outline(path).check(folder)
        return open_model(path, signature)

    def engines(
        self, model: "OnnxModel", function: str, signature: Signature | None  # noqa: ARG002
    ) -> Engines:
        """The runtime, whatever the rows are."""
        from api_host.models.flavors.onnx_model import engine_of  # noqa: PLC0415

        why = "the model is a graph that onnxruntime predicts with"
        return Engines(model.predict, why, engine_of(model, signature), itself="onnxruntime")
