"""Bytes to a table: CSV or Parquet, told by the content rather than by the name."""

import contextlib
import io
import warnings
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context

import fastparquet
import pandas as pd

from airflow_host.training.errors import BadData

_PARQUET = b"PAR1"
_BYTE_ORDER_MARK = b"\xef\xbb\xbf"
"""Spreadsheet programs put it in front of UTF-8."""

_LOOK_BYTES = 1000
_NOT_CSV = {
    b"\x1f\x8b": "compressed by gzip: unpack it first",
    b"PK\x03\x04": "a ZIP archive or an Excel file: save the table as CSV or Parquet",
    b"<": "HTML or XML: is this the address of a page rather than of the file?",
    b"{": "JSON: save the table as CSV or Parquet",
    b"[": "JSON: save the table as CSV or Parquet",
}
_OTHER_SEPARATORS = {";": "a semicolon", "\t": "a tab", "|": "a bar"}


def parse(content: bytes, *, place: str) -> pd.DataFrame:
    """The table in `content`, which has at least one row and uniquely named columns.

    `place`: where the content came from, for the sentence that says what is wrong with it.
    """
    content = content.removeprefix(_BYTE_ORDER_MARK)
    if not content or content.isspace():
        raise BadData(f"{place} is empty: it needs a line of column names, and rows")
    if content.startswith(_PARQUET):
        frame = _parse_parquet(content, place)
    else:
        frame = _parse_csv(content, place)
    if frame.empty:
        raise BadData(f"{place} has columns but no rows: there is nothing to learn from")
    return frame


def _parse_parquet(content: bytes, place: str) -> pd.DataFrame:
    try:
        # Some broken files crash the reader: rather a process of its own than this one.
        with ProcessPoolExecutor(1, get_context("fork")) as process:
            frame = process.submit(_read_parquet, content).result()
    except Exception:  # noqa: BLE001 (a broken file raises whatever its bytes lead to)
        raise BadData(f"{place} is not a whole Parquet file: was it cut off?") from None
    _check_names(list(frame.columns), place)
    return frame


def _read_parquet(content: bytes) -> pd.DataFrame:
    # Its own reader: Pandas has deprecated this engine, and the other one is too big to ship.
    with contextlib.redirect_stdout(None):  # It prints what it cannot make sense of.
        frame = fastparquet.ParquetFile(io.BytesIO(content)).to_pandas(index=False)
    frame.columns = frame.columns.map(str)
    return frame


def _parse_csv(content: bytes, place: str) -> pd.DataFrame:
    start = content[:_LOOK_BYTES].lstrip()
    for signature, what in _NOT_CSV.items():
        if start.startswith(signature):
            raise BadData(f"{place} is not a table but {what}")
    if b"\0" in content:
        raise BadData(f"{place} is not a table: it holds binary data, neither CSV nor Parquet")
    try:
        with warnings.catch_warnings():
            # Of a row that is too long, Pandas would drop what is too much.
            warnings.simplefilter("error", pd.errors.ParserWarning)
            # Names are read as a row like any other, since Pandas would rename a repeated one.
            names = pd.read_csv(io.BytesIO(content), header=None, nrows=1, dtype=str)
            frame = pd.read_csv(io.BytesIO(content), index_col=False, low_memory=False)
    except UnicodeDecodeError:
        raise BadData(f"{place} is not UTF-8 text: save the table as CSV in UTF-8") from None
    except (pd.errors.ParserError, pd.errors.ParserWarning) as error:
        raise BadData(f"{place} is not a table: {_reason(error)}") from None
    _check_names([str(name) for name in names.iloc[0].dropna()], place)
    return frame


def _check_names(names: list[str], place: str) -> None:
    repeated = sorted({name for name in names if names.count(name) > 1})
    if repeated:
        raise BadData(f"{place} has more than one column {repeated[0]!r}: give each its own name")
    for separator, what in _OTHER_SEPARATORS.items():
        if len(names) == 1 and separator in names[0]:
            raise BadData(f"{place} has its columns separated by {what}: use commas")


def _reason(error: Exception) -> str:
    if isinstance(error, pd.errors.ParserWarning):
        return "a row has more fields than there are column names"
    reason = str(error).removeprefix("Error tokenizing data. C error: ")
    return " ".join(reason.split())
