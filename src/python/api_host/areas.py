"""How much room a table takes: pandas and numpy make some for values that are not there too."""

import csv
import io
from typing import Any

MEBI = 1024 * 1024
MOST_CELLS = 16 * MEBI
MOST_COLUMNS = 10_000


def check_area(values: Any, *, texts: bool) -> None:
    """Raises `ValueError` if values of JSON make a table that is mostly empty and too large.

    `texts`: whether each text takes the room of the longest.
    """
    cells = _area(values, texts=texts)
    if cells > MOST_CELLS:
        raise ValueError(
            f"its rows differ so much that they take the room of {cells} values, and"
            f" {MOST_CELLS} is the most"
        )


def check_csv(text: str) -> None:
    """Raises `ValueError` if CSV makes such a table, or one that is too wide."""
    records = csv.reader(io.StringIO(text, newline=""))
    header = next((each for each in records if len(each) > 1 or any(map(str.strip, each))), [])
    if len(header) > MOST_COLUMNS:
        raise ValueError(f"it has {len(header)} columns, and {MOST_COLUMNS} is the most")
    cells = len(header) * (text.count("\n") + text.count("\r") + 1)
    if cells > max(MOST_CELLS, len(text)):
        raise ValueError(f"its lines take the room of {cells} values, and {MOST_CELLS} is the most")


def _area(values: Any, *, texts: bool) -> int:
    match values:
        case list() if values:
            inner = max(_area(value, texts=texts) for value in values)
            names = set().union(*(value for value in values if isinstance(value, dict)))
            return len(values) * max(inner, len(names))
        case dict() if values:
            inner = max(_area(value, texts=texts) for value in values.values())
            longest = max(len(v) if isinstance(v, list) else 1 for v in values.values())
            return max(inner, len(values) * longest)
        case str() if texts:
            return max(len(values), 1)
    return 1
