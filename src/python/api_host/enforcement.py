"""Holds what a body of MLflow's scoring protocol says against a signature, as MLflow does it."""

from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from api_host.kinds import Kind
from api_host.problems import INVALID_INVOCATION, Problem
from api_host.schema import Signature


def invalid(detail: str, error_code: str = "BAD_REQUEST") -> Problem:
    """A refusal, with the members that MLflow's own errors have: `error_code` and `message`."""
    return Problem(INVALID_INVOCATION, detail, error_code=error_code, message=detail)


def enforce(found: Any, signature: Signature) -> Any:
    """Holds what was read against the signature. Raises `Problem`."""
    try:
        return _array(found, signature) if signature.is_tensor else _frame(found, signature)
    except Problem:
        raise
    except Exception as error:  # noqa: BLE001 - pandas raises whatever it likes
        raise _mismatch(str(error)) from None


def _mismatch(detail: str) -> Problem:
    return invalid(
        f"the input does not answer the signature of the model: {detail}",
        "INVALID_PARAMETER_VALUE",
    )


def _frame(found: Any, signature: Signature) -> pd.DataFrame:
    frame = found if isinstance(found, pd.DataFrame) else _to_frame(found)
    if not signature.named:
        if len(frame.columns) < len(signature.columns):
            raise _mismatch(f"{len(signature.columns)} columns, and not {len(frame.columns)}")
        pairs = zip(frame.columns, (column.kind for column in signature.columns), strict=False)
        return pd.DataFrame({name: _enforce_column(frame[name], kind) for name, kind in pairs})
    missing = [c.name for c in signature.columns if c.required and c.name not in frame.columns]
    if missing:
        raise _mismatch(f"the columns {', '.join(map(str, missing))} are missing")
    return pd.DataFrame(
        {
            column.name: _enforce_column(frame[column.name], column.kind)
            for column in signature.columns
            if column.name in frame.columns
        }
    )


def _to_frame(found: Any) -> pd.DataFrame:
    if np.isscalar(found):
        return pd.DataFrame([found])
    if isinstance(found, dict):
        if all(_is_one_value(value) for value in found.values()):
            return pd.DataFrame([found])
        found = {
            name: value.tolist() if isinstance(value, np.ndarray) and value.ndim > 1 else value
            for name, value in found.items()
        }
    return pd.DataFrame(found)


def _is_one_value(value: Any) -> bool:
    return bool(np.isscalar(value)) or value is None


def _enforce_column(values: pd.Series, kind: Kind) -> pd.Series:
    """Only what loses nothing is converted: this is what MLflow calls schema enforcement."""
    if values.dtype == object and kind.name not in ("binary", "string"):
        values = values.infer_objects()
    is_text = isinstance(values.dtype, pd.StringDtype)
    if kind.dtype == values.dtype or (kind.dtype.hasobject and is_text):
        return values
    if values.dtype == object and kind.name == "boolean":
        return values  # Not cast: None would become False.
    if values.dtype == object and kind.name == "double":
        return pd.to_numeric(values, errors="raise")  # Empty lists pass, and the model refuses.
    if kind.name == "datetime" and values.dtype.kind in "MO":
        return values.astype(kind.dtype)
    if not is_text and _loses_nothing(values, kind.dtype):
        return values.astype(kind.dtype)
    raise _mismatch(f"the column {values.name} is {values.dtype}, and not {kind.name}")


def _loses_nothing(values: pd.Series, wanted: np.dtype[Any]) -> bool:
    found = values.dtype
    if found.kind == wanted.kind:
        return bool(found.itemsize <= wanted.itemsize)
    if found.kind == "u" and wanted.kind == "i":
        return bool(found.itemsize < wanted.itemsize)
    if found.kind in "iu" and wanted == np.float64 and found.itemsize <= np.int32().itemsize:
        return True
    return bool(found == np.int64 and wanted.kind == "f" and values.isin([0, 1]).all())


def _array(found: Any, signature: Signature) -> NDArray[Any]:
    width, dtype = len(signature.columns), signature.columns[0].kind.dtype
    if isinstance(found, pd.DataFrame):
        found = _frame_to_array(found, width, dtype)
    if not isinstance(found, np.ndarray):
        raise _mismatch("the model takes an array of rows")
    if found.ndim != 2 or found.shape[1] != width or found.dtype != dtype:  # noqa: PLR2004
        raise _mismatch(
            f"the array is {found.shape} of {found.dtype}, and not (rows, {width}) of {dtype}"
        )
    return found


def _frame_to_array(frame: pd.DataFrame, width: int, dtype: np.dtype[Any]) -> NDArray[Any]:
    if frame.empty:
        raise _mismatch("there are no rows")
    if len(frame.columns) > 1:
        array: NDArray[Any] = frame.to_numpy()
        return array
    values = frame[frame.columns[0]]
    rows = values.tolist() if isinstance(values[0], list) else values.to_numpy().reshape(-1, 1)
    array = np.vstack(rows).reshape(-1, width).astype(dtype)
    if len(array) != len(values):
        raise _mismatch(f"its rows have not {width} values")
    return array
