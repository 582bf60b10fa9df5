"""The registered models that every server serves, what is asked about, and the right answers."""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Self

KINDS = ("logistic", "forest", "boosting", "histogram")
COLUMNS = (4, 30)
MOST_BODIES = 64


@dataclass(frozen=True)
class Model:
    """A registered model.

    `name`: for instance "forest-30", which has 30 columns.
    `folder`: a copy of what the registry holds.
    `columns`: the names of its columns.
    `rows`, `answers`: what may be asked, and what is right.
    """

    name: str
    folder: Path
    columns: tuple[str, ...]
    rows: tuple[tuple[float, ...], ...]
    answers: tuple[str, ...]

    @classmethod
    def read(cls, folder: Path, name: str) -> Self:
        """A model that `train` made."""
        found = json.loads((folder / f"{name}.json").read_text())
        return cls(
            name=name,
            folder=folder / name,
            columns=tuple(found["columns"]),
            rows=tuple(tuple(row) for row in found["rows"]),
            answers=tuple(found["answers"]),
        )

    def batches(self, rows: int) -> list[slice]:
        """Which rows to ask about together, `rows` at a time."""
        whole = len(self.rows) // rows
        return [slice(n * rows, (n + 1) * rows) for n in range(min(whole, MOST_BODIES))]
