"""What is learned from a table: features, target, and whether it is a class or a number."""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import pandas as pd

from airflow_host.training.errors import BadData
from airflow_host.training.plan import Kind

MOST_CLASSES_OF_WHOLE_NUMBERS = 20
ROWS_PER_CLASS_OF_WHOLE_NUMBERS = 10
MOST_SHOWN = 20
"""Names of columns that a message lists."""

_LARGEST = float(np.finfo(np.float32).max)
"""Trees compare in this precision."""


@dataclass(frozen=True)
class Samples:
    """Rows to learn from or to be judged by.

    `features`: columns of float64, bool or text.
    `target`: what is to be predicted, without missing values.
    `kind`: "classification" or "regression".
    `ignored`: columns that are no features, with the reason.
    """

    features: pd.DataFrame
    target: pd.Series
    kind: Kind
    ignored: dict[str, str]

    def take(self, rows: npt.NDArray[np.bool_]) -> "Samples":
        """Only these rows."""
        return Samples(
            self.features[rows].reset_index(drop=True),
            self.target[rows].reset_index(drop=True),
            self.kind,
            self.ignored,
        )


def sample(frame: pd.DataFrame, target: str, *, place: str) -> Samples:
    """What a table has to teach about one of its columns.

    `place`: where the table came from, for the sentence that says what is wrong with it.
    """
    if target not in frame:
        raise BadData(f"{place} has no column {target!r}: there are {_names(frame)}")
    known = frame[target].notna()
    if not known.any():
        raise BadData(f"the column {target!r} of {place} has no values at all")
    frame = frame[known].reset_index(drop=True)
    kind, values = _target(frame[target], place=place)
    features, ignored = _features(frame.drop(columns=target), place=place)
    return Samples(features, values, kind, ignored)


def kind_of(target: pd.Series) -> Kind:
    """Whether a column without missing values holds classes or numbers.

    Text and booleans are classes. Numbers are numbers, unless they are whole, at most 20 different
    ones, and each is there 10 times on average: those are classes.
    """
    if not pd.api.types.is_numeric_dtype(target) or pd.api.types.is_bool_dtype(target):
        return "classification"
    numbers = target.to_numpy(dtype=np.float64)
    distinct = len(np.unique(numbers))
    few = distinct <= min(
        MOST_CLASSES_OF_WHOLE_NUMBERS, len(numbers) // ROWS_PER_CLASS_OF_WHOLE_NUMBERS
    )
    return "classification" if few and bool((numbers % 1 == 0).all()) else "regression"


def _target(column: pd.Series, *, place: str) -> tuple[Kind, pd.Series]:
    column = column.infer_objects()
    if not _is_number(column) and not _is_bool(column) and not _is_text(column):
        raise BadData(
            f"the column {column.name!r} of {place} holds {column.dtype} values:"
            " a target must be text, a boolean or a number"
        )
    if _is_number(column):
        _check_range(column, place=place)
    distinct = column.unique()
    if len(distinct) < 2:  # noqa: PLR2004
        raise BadData(
            f"the column {column.name!r} of {place} is '{distinct[0]}' in every row:"
            " there is nothing to tell apart"
        )
    kind = kind_of(column)
    if kind == "regression":
        return kind, column.astype(np.float64)
    if _is_number(column):
        return kind, column.astype(np.int64)
    return kind, column.astype(bool) if _is_bool(column) else column.astype(str).astype(object)


def _features(frame: pd.DataFrame, *, place: str) -> tuple[pd.DataFrame, dict[str, str]]:
    ignored = {}
    columns = {}
    for name in frame:
        column = frame[name].infer_objects()
        reason = _useless(column)
        if reason:
            ignored[str(name)] = reason
        elif _is_bool(column) and not column.hasnans:
            columns[name] = column.astype(bool)
        elif _is_number(column):
            _check_range(column, place=place)
            columns[name] = column.astype(np.float64)
        else:
            text = column.map(str, na_action="ignore").astype(object)
            columns[name] = text.where(column.notna(), None)  # As JSON has it.
    if not columns:
        reasons = "; ".join(f"{name!r} {reason}" for name, reason in ignored.items())
        raise BadData(
            f"{place} has no column to predict from besides the target"
            + (f": {reasons}" if reasons else "")
        )
    return pd.DataFrame(columns), ignored


def _useless(column: pd.Series) -> str | None:
    number, text = _is_number(column) or _is_bool(column), _is_text(column)
    if not number and not text:
        return f"holds {column.dtype} values, neither numbers nor text"
    if str(column.name).startswith("Unnamed: "):
        return "has no name"
    distinct = column.nunique()
    if distinct == 0:
        return "has no values"
    if distinct == 1 and not column.hasnans:
        return "is the same in every row"
    if not number and distinct > len(column) // 2:
        return "is text that is different in almost every row"
    return None


def _is_bool(column: pd.Series) -> bool:
    return bool(pd.api.types.is_bool_dtype(column))


def _is_number(column: pd.Series) -> bool:
    return bool(pd.api.types.is_numeric_dtype(column)) and not _is_bool(column)


def _is_text(column: pd.Series) -> bool:
    if isinstance(column.dtype, pd.CategoricalDtype):
        return True
    return all(isinstance(value, str | bool) for value in column.dropna())


def _check_range(column: pd.Series, *, place: str) -> None:
    if (column.abs() > _LARGEST).any():
        raise BadData(
            f"the column {column.name!r} of {place} has numbers that are infinite or beyond"
            f" {_LARGEST:.1e}: remove those rows"
        )


def _names(frame: pd.DataFrame) -> str:
    return ", ".join(_shown(frame))


def _shown(frame: pd.DataFrame) -> Iterator[str]:
    yield from frame.columns[:MOST_SHOWN]
    if len(frame.columns) > MOST_SHOWN:
        yield f"and {len(frame.columns) - MOST_SHOWN} more"
