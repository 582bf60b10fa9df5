"""MLflow's scoring protocol: the same tables from the same bodies as `mlflow models serve` makes.

MLflow itself is not imported for it: that takes seconds and 40 MB. The tests compare what is read
here with what MLflow reads, for bodies that hypothesis makes up.
"""

import base64
import io
import json
from contextlib import suppress
from datetime import date, time
from typing import Any

import msgspec
import numpy as np
import pandas as pd
from numpy.typing import NDArray

from api_host.areas import check_area, check_csv
from api_host.bounds import Bounds, widest
from api_host.enforcement import enforce, invalid
from api_host.kinds import Kind
from api_host.outputs import Outputs
from api_host.parameters import Parameters
from api_host.problems import INVALID_BODY, UNSUPPORTED_MEDIA_TYPE, Problem
from api_host.schema import Signature
from api_host.table import Table

FORMS = ("dataframe_records", "dataframe_split", "inputs", "instances")

LANGUAGE_KEYS = frozenset({"input", "messages", "prompt"})
"""Members by which MLflow knows a body for a language model, which no model here is."""


def decode(
    body: bytes,
    content_type: str,
    signature: Signature | None,
    parameters: Parameters,
    *,
    bounds: Bounds,
) -> Table:
    """What the model predicts from. Raises `Problem`."""
    if signature is not None:
        bounds = bounds.fitting(len(signature.columns))
    match _media_type(content_type):
        case "application/json":
            if (numbers := _numbers(body, signature)) is not None:
                return numbers
            return _from_json(body, signature, parameters, bounds)
        case "text/csv":
            return _table(_from_csv(body, signature, bounds), signature)
        case _:
            raise Problem(
                UNSUPPORTED_MEDIA_TYPE,
                f"the content type is {content_type or 'not given'};"
                " it must be application/json or text/csv",
            )


def encode(predictions: Any) -> bytes:
    """The answer, as MLflow writes it: its NaN is JavaScript's, not JSON's. Raises `Problem`."""
    if isinstance(predictions, np.ndarray) and _is_plain(predictions):
        with suppress(UnicodeEncodeError):  # Half of a surrogate pair, which json escapes.
            return msgspec.json.encode({"predictions": predictions.tolist()})
    if isinstance(predictions, Outputs):
        try:
            predictions = predictions.as_mlflow()
        except ValueError as error:
            raise invalid(str(error)) from None
    if isinstance(predictions, pd.DataFrame | pd.Series):
        predictions = pd.DataFrame(predictions).to_dict(orient="records")
    try:
        return json.dumps({"predictions": predictions}, default=_as_json).encode()
    except (TypeError, ValueError) as error:
        raise invalid(f"the predictions of the model are not for JSON: {error}") from None


def _is_plain(predictions: NDArray[Any]) -> bool:
    """Whether msgspec writes the same values: it has no NaN."""
    if predictions.dtype.kind == "f":
        return predictions.dtype.itemsize <= np.float64().itemsize and bool(
            np.isfinite(predictions).all()
        )
    return predictions.dtype.kind in "biuU"


def _as_json(value: Any) -> Any:
    match value:
        case np.ndarray():
            return value.tolist()
        case np.generic():
            return value.item()
        case bytes():
            return base64.encodebytes(value).decode()
        case date() | time():
            return value.isoformat()
    raise TypeError(f"a {type(value).__name__} cannot be written")


def _media_type(content_type: str) -> str:
    media_type, *rest = (part.strip() for part in content_type.split(";"))
    parameters = dict(part.partition("=")[::2] for part in rest)
    if parameters.keys() - {"charset"} or parameters.get("charset", "utf-8").lower() != "utf-8":
        raise Problem(
            UNSUPPORTED_MEDIA_TYPE,
            f"the content type is {content_type}; it may have charset=utf-8, and nothing else",
        )
    return media_type


def _numbers(body: bytes, signature: Signature | None) -> Table | None:
    if signature is None or signature.forms is None:
        return None
    matrix = signature.forms.read(body)
    return None if matrix is None else signature.of_numbers(matrix)


def _table(found: Any, signature: Signature | None) -> Table:
    if signature is not None:
        return Table(enforce(found, signature))
    if isinstance(found, np.ndarray | np.generic) and found.ndim == 0:
        raise invalid("the body holds one value, and the model takes rows")
    return Table(found)


def _from_csv(body: bytes, signature: Signature | None, bounds: Bounds) -> pd.DataFrame:
    try:
        check_csv(body.decode(), bounds)
        text = io.StringIO(body.decode())
        if signature is None:
            return pd.read_csv(text)
        if signature.is_tensor:
            raise ValueError("the model takes an array, which CSV is not")  # noqa: TRY301
        return pd.read_csv(text, dtype={c.name: c.kind.dtype for c in signature.columns})
    except Problem:
        raise
    except Exception as error:  # noqa: BLE001 - pandas raises whatever it likes
        raise invalid(f"the body is not CSV that pandas reads: {error}") from None


def _from_json(
    body: bytes, signature: Signature | None, parameters: Parameters, bounds: Bounds
) -> Table:
    try:
        body = _utf8(body)
        bounds.check_json(body)
        document = json.loads(body)
    except Problem as problem:
        raise invalid(problem.detail) if problem.kind is INVALID_BODY else problem from None
    except (ValueError, RecursionError) as error:
        raise invalid(f"the body is not JSON: {error}") from None
    if not isinstance(document, dict):
        document = {}
    forms = [form for form in FORMS if form in document]
    if len(forms) != 1:
        raise invalid(f"the body must be a JSON object with exactly one of {', '.join(FORMS)}")
    if language := LANGUAGE_KEYS & document.keys():
        raise invalid(
            f"the body has {', '.join(sorted(language))}, which is for language models; this"
            f" model takes {forms[0]} without it"
        )
    table = _table(_read(forms[0], document[forms[0]], signature, bounds), signature)
    parameters.check(document.get("params"))
    return table


def _utf8(body: bytes) -> bytes:
    """The same JSON in the encoding that is measured: MLflow takes UTF-16 and UTF-32 too."""
    encoding = json.detect_encoding(body)
    if encoding.startswith("utf-8"):
        return body
    return body.decode(encoding, "surrogatepass").encode("utf-8", "surrogatepass")


def _read(form: str, values: Any, signature: Signature | None, bounds: Bounds) -> Any:
    try:
        bounds.check_columns(_width(values))
        check_area(values, texts=form in ("inputs", "instances"))
        match form:
            case "dataframe_records":
                return _cast_frame(_records(values), signature)
            case "dataframe_split":
                return _cast_frame(_split(values), signature)
            case "instances":
                return _instances(values, signature)
            case _:
                return _inputs(values, signature)
    except Problem:
        raise
    except Exception as error:  # noqa: BLE001 - pandas raises whatever it likes
        raise invalid(f"/{form} does not answer the signature of the model: {error}") from None


def _width(values: Any) -> int:
    if isinstance(values, dict) and "data" in values:  # It may be a table that was split.
        return max(widest([values.get("columns")]), widest(values["data"]), len(values))
    return widest(values)


def _records(values: Any) -> pd.DataFrame:
    if not isinstance(values, list):
        raise TypeError("it must be an array of objects")
    return pd.DataFrame(values)


def _split(values: Any) -> pd.DataFrame:
    if not isinstance(values, dict) or not {"data"} <= values.keys() <= {
        "columns",
        "data",
        "index",
    }:
        raise TypeError("it must be an object with data, and may have columns and index")
    return pd.DataFrame(values["data"], values.get("index"), values.get("columns"))


def _cast_frame(frame: pd.DataFrame, signature: Signature | None) -> pd.DataFrame:
    """Casts the columns that the signature knows, as far as pandas can: "5" becomes 5.0."""
    if signature is None:
        return frame
    if signature.named:
        kinds = {c.name: c.kind for c in signature.columns if c.name in frame.columns}
    elif signature.is_tensor:
        kinds = dict.fromkeys(frame.columns, signature.columns[0].kind)
    else:
        kinds = dict(zip(frame.columns, (c.kind for c in signature.columns), strict=False))
    for name, kind in kinds.items():
        frame[name] = _cast_column(frame[name], kind, signature)
    return frame


def _cast_column(values: pd.Series, kind: Kind, signature: Signature) -> pd.Series:
    if kind.name == "binary":
        return values.map(lambda text: base64.decodebytes(text.encode()))
    if signature.is_tensor and isinstance(values.iloc[0], list):
        return values
    if kind.name == "datetime":
        return pd.to_datetime(values).dt.as_unit("ns")
    if kind.name == "string" and isinstance(values.dtype, pd.StringDtype):
        return values
    return values.astype(kind.dtype)


def _instances(values: Any, signature: Signature | None) -> Any:
    """Rows: objects become one array a column, all else is read like columns."""
    kinds = _kinds_by_name(signature)
    if isinstance(values, list) and values and isinstance(values[0], dict):
        lists: dict[str, list[Any]] = {}
        for row in values:
            for name, value in row.items():
                lists.setdefault(name, []).append(_cast(value, kinds.get(name)))
        found: Any = {name: np.array(items) for name, items in lists.items()}
    else:
        found = _inputs(values, signature)
    if isinstance(found, dict):
        arrays = {name: item for name, item in found.items() if isinstance(item, np.ndarray)}
        if len({len(array) for name, array in arrays.items() if name in (kinds or arrays)}) > 1:
            raise ValueError("the rows have not all the same columns")
    return found


def _inputs(values: Any, signature: Signature | None) -> Any:
    """Columns, or an array of rows without names, or one value."""
    kinds = _kinds_by_name(signature)
    is_table = isinstance(values, list) and any(isinstance(item, dict) for item in values)
    if len(kinds) == 1 and isinstance(values, list) and not is_table:
        values = {next(iter(kinds)): values}
    elif signature and not signature.named and (values is None or isinstance(values, dict)):
        raise TypeError("the columns of this model have no names: send an array")
    if isinstance(values, dict):
        return {name: _cast(value, kinds.get(name)) for name, value in values.items()}
    if isinstance(values, list) and all(isinstance(item, dict) for item in values):
        return [{name: _cast(v, kinds.get(name)) for name, v in row.items()} for row in values]
    first = signature.columns[0].kind if signature else None
    return _cast(values, first, as_array=signature is not None and signature.is_tensor)


def _kinds_by_name(signature: Signature | None) -> dict[str, Kind]:
    if signature is None or not signature.named:
        return {}
    return {str(column.name): column.kind for column in signature.columns}


def _cast(value: Any, kind: Kind | None, *, as_array: bool = False) -> Any:
    if kind is None:
        return np.array(value)
    dtype: np.dtype[Any] = _NUMPY.get(kind.name, kind.dtype)
    if as_array or isinstance(value, list):
        return np.array(value, dtype)
    return np.array([value], dtype)[0]


_NUMPY: dict[str, np.dtype[Any]] = {"string": np.dtype(str), "binary": np.dtype(bytes)}
"""Where numpy's type is not the one that pandas has for it."""
