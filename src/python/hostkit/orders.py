"""What may be asked of a training: the API's types and Airflow's DAG have the same bounds.

The words are those of JSON Schema. A pattern is read by Python and by browsers: `$` alone would let
a line break follow in Python.
"""

from typing import Any

MODEL_NAME = r"^[A-Za-z0-9][A-Za-z0-9 _.-]{0,127}$(?!\n)"
"""A name that is safe in a URL, a file name and a log."""

MOST_OF_MODEL_NAME = 128

ONE_LINE = r"^[^\x00-\x1f\x7f-\x9f\u2028\u2029\ud800-\udfff]+$(?!\n)"
"""Any text without a line break or another control character."""

MOST_OF_URI = 2048
MOST_OF_COLUMN = 256
"""Characters of a column's name, in a table too."""

MOST_OF_MARGIN = 1e15
"""No model is better than another by more; and infinity is."""

NOT_NAN: dict[str, Any] = {"not": {"type": "number", "exclusiveMaximum": 0}}
"""Of a number that is not negative anyway: no comparison refuses NaN, so none is true of it."""

REQUEST_ID = r"^[!-~]{1,128}$(?!\n)"
MOST_OF_REQUEST_ID = 128
