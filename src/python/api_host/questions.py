"""The bodies that this host takes: their types check them, and are what the API's document says."""

from typing import Annotated, Any, TypeAlias

import msgspec
from msgspec import UNSET, Meta, UnsetType

from api_host.structs import worked_out
from hostkit import orders

Row: TypeAlias = dict[str, Any] | list[Any]
Parameters: TypeAlias = dict[str, Any] | None


class Rows(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Rows to predict from.

    `rows`: objects, column names to values; arrays where the columns of the model have no names.
    """

    rows: Annotated[list[Row], Meta(min_length=1)]


class Columns(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Columns to predict from.

    `columns`: the values of each column, all of one length.
    """

    columns: dict[str, Annotated[list[Any], Meta(min_length=1)]]


class Split(msgspec.Struct, frozen=True, forbid_unknown_fields=True, omit_defaults=True):
    """A table, as pandas splits it."""

    data: list[Any]
    columns: list[Any] | None = None
    index: list[Any] | None = None


class _Invocation(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """What the forms of MLflow's scoring protocol have in common.

    `params`: an object, where the signature of the model has params; they change no answer.
    """

    params: Any = None


class DataframeSplit(_Invocation, frozen=True):
    """A table for MLflow's scoring protocol: names apart from rows."""

    dataframe_split: Split


class DataframeRecords(_Invocation, frozen=True):
    """A table for MLflow's scoring protocol: an object a row."""

    dataframe_records: list[Any]


class Instances(_Invocation, frozen=True):
    """Rows for MLflow's scoring protocol, as TensorFlow Serving takes them."""

    instances: Any


class Inputs(_Invocation, frozen=True):
    """Columns for MLflow's scoring protocol, or an array of rows, or one value."""

    inputs: Any


@worked_out
class TrainingOrder(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What to train; what is left out is as Airflow's DAG has it.

    `model_name`: the registered model of which there will be a new version.
    `data_uri`: the table to learn from, as CSV or Parquet.
    `target`: its column to predict.
    `margin`: by how much the new version must be better than the champion to replace it.
    """

    model_name: (
        Annotated[str, Meta(max_length=orders.MOST_OF_MODEL_NAME, pattern=orders.MODEL_NAME)]
        | UnsetType
    ) = UNSET
    data_uri: (
        Annotated[str, Meta(max_length=orders.MOST_OF_URI, pattern=orders.ONE_LINE)] | UnsetType
    ) = UNSET
    target: (
        Annotated[str, Meta(max_length=orders.MOST_OF_COLUMN, pattern=orders.ONE_LINE)] | UnsetType
    ) = UNSET
    margin: Annotated[float, Meta(ge=0, le=orders.MOST_OF_MARGIN)] | UnsetType = UNSET


class InputTensor(msgspec.Struct, frozen=True, omit_defaults=True):
    """A tensor to predict from.

    `shape`: rows, or rows and columns.
    `parameters`: `binary_data_size`, if its elements follow the JSON.
    `data`: its elements, flat or an array a row.
    """

    name: str
    shape: list[int]
    datatype: str
    parameters: Parameters = None
    data: Any = UNSET

    @property
    def binary_size(self) -> Any:
        """How many bytes after the JSON are its elements; None if they are in the JSON."""
        return (self.parameters or {}).get("binary_data_size")


class WantedOutput(msgspec.Struct, frozen=True, omit_defaults=True):
    """An output to answer with.

    `parameters`: `binary_data`, if it is to be binary data.
    """

    name: str
    parameters: Parameters = None


@worked_out
class InferenceRequest(msgspec.Struct, frozen=True, omit_defaults=True):
    """Tensors to predict from.

    `inputs`: one a column; or one with all columns in the order of the signature.
    `id`: comes back with the answer.
    `parameters`: `binary_data_output`, if outputs that are not named are to be binary data.
    `outputs`: those to answer with; all if there are none.
    """

    inputs: list[InputTensor]
    id: str | None = None
    parameters: Parameters = None
    outputs: list[WantedOutput] | None = None


@worked_out
class IndexRequest(msgspec.Struct, frozen=True):
    """Which models to list.

    `ready`: only those that predict.
    """

    ready: bool = False


@worked_out
class LoadRequest(msgspec.Struct, frozen=True):
    """Nothing: the registry says what a model is."""

    parameters: Annotated[dict[str, Any], Meta(max_length=0)] | None = None
