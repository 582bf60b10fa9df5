"""Which rows are learned from and which are held out to judge by: once, the same for everybody.

A row is held out by its content rather than by its place or by chance. So the same table is split
the same way in every task, and when it grows, rows that were held out mostly remain so: the
champion is judged by rows that it has not learned from either.
"""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import pandas as pd

from airflow_host.training.errors import BadData
from airflow_host.training.samples import Samples

ONE_IN = 4
"""How many rows there are for one that is held out."""

FEWEST_ROWS = 2 * ONE_IN


@dataclass(frozen=True)
class Split:
    """Rows to learn from, and rows to judge by."""

    learned: Samples
    held_out: Samples


def split(samples: Samples, *, place: str) -> Split:
    """Holds out one row in four; of each class alike, where there are classes."""
    _check_enough(samples, place=place)
    order = _order(samples)
    strata = samples.target if samples.kind == "classification" else np.zeros(len(order), np.int8)
    groups = pd.Series(order).groupby(np.asarray(strata))
    held_out = (groups.rank(method="first") <= groups.transform("size") // ONE_IN).to_numpy()
    return Split(samples.take(~held_out), samples.take(held_out))


def _order(samples: Samples) -> npt.NDArray[np.uint64]:
    """A number for each row that follows from its content alone.

    Equal rows are counted, or else they would all fall on the same side.
    """
    columns = samples.features[sorted(samples.features.columns)]
    hashes = pd.util.hash_pandas_object(
        pd.concat([columns, samples.target], axis="columns"), index=False
    )
    repeated = hashes.groupby(hashes).cumcount()
    return np.asarray(
        pd.util.hash_pandas_object(pd.DataFrame({"row": hashes, "n": repeated}), index=False)
    )


def _check_enough(samples: Samples, *, place: str) -> None:
    rows = len(samples.target)
    if rows < FEWEST_ROWS:
        raise BadData(
            f"{place} has {rows} rows with a target: at least {FEWEST_ROWS} are needed, since one"
            f" in {ONE_IN} is held out to judge by"
        )
    if samples.kind == "regression":
        return
    counts = samples.target.value_counts()
    rare = counts[counts < ONE_IN]
    if len(rare):
        hint = (
            " (does the column hold numbers with some text among them?)"
            if len(counts) > rows // ONE_IN
            else ""
        )
        raise BadData(
            f"{len(rare)} of the {len(counts)} classes in column {samples.target.name!r} of {place}"
            f" have fewer than {ONE_IN} rows, for instance '{rare.index[-1]}' with"
            f" {rare.iloc[-1]}: add rows, or leave such classes out{hint}"
        )
