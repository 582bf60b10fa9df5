"""How much room a table takes: pandas and numpy make some for values that are not there too."""

import csv
import io
import sys
from itertools import chain
from typing import Any

from api_host.bounds import Bounds

# The module's own limit is one for all of a process, and not the one that is set.
csv.field_size_limit(sys.maxsize)

MEBI = 1024 * 1024
MOST_CELLS = 16 * MEBI


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


def check_csv(text: str, bounds: Bounds) -> None:
    """Raises `ValueError` if CSV makes such a table, and `Problem` if it is beyond `bounds`."""
    records = csv.reader(io.StringIO(text, newline=""))
    header = next((each for each in records if len(each) > 1 or any(map(str.strip, each))), [])
    bounds.check_columns(len(header))
    bounds.check_strings(header)
    # Without quotes no field is longer than its line.
    if '"' in text or max(map(len, text.splitlines()), default=0) > bounds.characters:
        bounds.check_strings(chain.from_iterable(records))
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
