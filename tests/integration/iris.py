"""What the tests of the Open Inference Protocol ask the shipped example."""

from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

ROWS = np.array([[5.1, 3.5, 1.4, 0.2], [6.9, 3.1, 5.4, 2.1]])
LABELS = ["setosa", "virginica"]
DATATYPES = {"float32": "FP32", "float64": "FP64"}
OUTPUT = "output-0"


def forms(rows: NDArray[Any], names: Sequence[str]) -> Iterable[dict[str, NDArray[Any]]]:
    """The ways to send rows, as tensors by name: all in one, or one for each column."""
    yield {"input-0": rows}
    yield {name: rows[:, index] for index, name in enumerate(names)}
