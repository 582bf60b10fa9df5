"""What the MLmodel file says of a model."""

import msgspec

from api_host.errors import ModelRefusedError
from api_host.models.flavors.flavor import Flavor, plain_name
from api_host.models.flavors.lightgbm import LightgbmFlavor
from api_host.models.flavors.onnx import OnnxFlavor
from api_host.models.flavors.sklearn import SklearnFlavor
from api_host.models.flavors.xgboost import XgboostFlavor
from api_host.models.mlmodel import parse
from api_host.structs import worked_out


class _PythonFunction(msgspec.Struct, frozen=True):
    predict_fn: str = "predict"


class _Flavors(msgspec.Struct, frozen=True):
    sklearn: SklearnFlavor | None = None
    onnx: OnnxFlavor | None = None
    xgboost: XgboostFlavor | None = None
    lightgbm: LightgbmFlavor | None = None
    python_function: _PythonFunction = _PythonFunction()


class DescribedSignature(msgspec.Struct, frozen=True):
    """The signature, in JSON."""

    inputs: str | None = None
    outputs: str | None = None
    params: str | None = None


class _Example(msgspec.Struct, frozen=True):
    artifact_path: str
    type: str = ""
    pandas_orient: str | None = None


@worked_out
class Description(msgspec.Struct, frozen=True):
    """What the MLmodel file says of a model."""

    flavors: _Flavors
    signature: DescribedSignature | None = None
    saved_input_example_info: _Example | None = None

    @property
    def flavor(self) -> Flavor:
        """The format of the model. Raises `ModelRefusedError` if it is none that is served."""
        flavors = self.flavors
        known = (flavors.sklearn, flavors.onnx, flavors.xgboost, flavors.lightgbm)
        found: Flavor | None = next((each for each in known if each is not None), None)
        if found is None:
            raise ModelRefusedError(
                "only models logged with mlflow.sklearn, mlflow.onnx, mlflow.xgboost or"
                " mlflow.lightgbm are served; one of another library can be exported to ONNX"
            )
        return found

    @property
    def function(self) -> str:
        """The name of the function that is served."""
        return self.flavors.python_function.predict_fn

    @property
    def example(self) -> str | None:
        """The name of the file with rows that the model can predict from."""
        info = self.saved_input_example_info
        if info is None or info.type != "dataframe" or info.pandas_orient != "split":
            return None
        return plain_name(info.artifact_path)


def describe(text: bytes) -> Description:
    """Reads an MLmodel file. Raises `ModelRefusedError`."""
    try:
        return msgspec.convert(parse(text), Description)
    except msgspec.ValidationError as error:
        raise ModelRefusedError(f"its MLmodel file cannot be understood: {error}") from None
