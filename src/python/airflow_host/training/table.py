"""Bytes to a table: CSV or Parquet, told by the content rather than by the name."""

import io

import fastparquet
import pandas as pd

from airflow_host.training.errors import BadData

_PARQUET = b"PAR1"
_NOT_CSV = {
    b"\x1f\x8b": "compressed by gzip: unpack it first",
    b"PK\x03\x04": "a ZIP archive or an Excel file: save the table as CSV or Parquet",
    b"<": "HTML or XML: is this the address of a page rather than of the file?",
    b"{": "JSON: save the table as CSV or Parquet",
    b"[": "JSON: save the table as CSV or Parquet",
}


def parse(content: bytes, *, place: str) -> pd.DataFrame:
    """The table in `content`, which has at least one row and uniquely named columns.

    `place`: where the content came from, for the sentence that says what is wrong with it.
    """
    if not content.strip():
        raise BadData(f"{place} is empty: it needs a line of column names, and rows")
    frame = _parse_parquet(content, place) if _is_parquet(content) else _parse_csv(content, place)
    frame.columns = frame.columns.map(str)
    repeated = sorted(set(frame.columns[frame.columns.duplicated()]))
    if repeated:
        raise BadData(f"{place} has more than one column {repeated[0]!r}: give each its own name")
    if frame.empty:
        raise BadData(f"{place} has columns but no rows: there is nothing to learn from")
    return frame


def _is_parquet(content: bytes) -> bool:
    return content.startswith(_PARQUET)


def _parse_parquet(content: bytes, place: str) -> pd.DataFrame:
    try:
        # Its own reader: Pandas has deprecated this engine, and the other one is too big to ship.
        return fastparquet.ParquetFile(io.BytesIO(content)).to_pandas(index=False)
    except Exception:  # noqa: BLE001 (a broken file raises whatever its bytes lead to)
        raise BadData(f"{place} is not a whole Parquet file: was it cut off?") from None


def _parse_csv(content: bytes, place: str) -> pd.DataFrame:
    for start, what in _NOT_CSV.items():
        if content.lstrip().startswith(start):
            raise BadData(f"{place} is not a table but {what}")
    if b"\0" in content:
        raise BadData(f"{place} is not a table: it holds binary data, neither CSV nor Parquet")
    try:
        # Names are a row like any other, since Pandas would rename a repeated one.
        names = pd.read_csv(io.BytesIO(content), header=None, nrows=1, dtype=str, encoding=_UTF8)
        frame = pd.read_csv(io.BytesIO(content), encoding=_UTF8, index_col=False)
    except UnicodeDecodeError:
        raise BadData(f"{place} is not UTF-8 text: save the table as CSV in UTF-8") from None
    except (pd.errors.ParserError, pd.errors.ParserWarning, pd.errors.EmptyDataError) as error:
        raise BadData(f"{place} is not a table: {_csv_reason(error)}") from None
    given = [str(name) for name in names.iloc[0].dropna()]
    repeated = sorted({name for name in given if given.count(name) > 1})
    if repeated:
        raise BadData(f"{place} has more than one column {repeated[0]!r}: give each its own name")
    return frame


_UTF8 = "utf-8-sig"
"""With the mark that spreadsheet programs put in front, or without."""


def _csv_reason(error: Exception) -> str:
    return " ".join(str(error).removeprefix("Error tokenizing data. C error: ").split())
