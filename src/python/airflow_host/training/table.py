"""Bytes to a table: CSV or Parquet, told by the content rather than by the name."""

import contextlib
import csv
import functools
import io
import warnings
from collections import Counter
from dataclasses import dataclass

import fastparquet
import pandas as pd

from airflow_host.training.confinement import ConfinedError, confined
from airflow_host.training.errors import BadData
from airflow_host.training.settings import TrainingDefaults
from hostkit.orders import MOST_OF_COLUMN

_PARQUET = b"PAR1"
_BYTE_ORDER_MARK = b"\xef\xbb\xbf"
"""Spreadsheet programs put it in front of UTF-8."""

_WHERE = "in the env file of the airflow host"

_LOOK_BYTES = 1000
_SHOWN = 40
_MOST_BYTES_OF_A_NAME = 8 * MOST_OF_COLUMN + 3
"""Of UTF-8, with a quote for each quote, quotes around it and a comma."""

_NOT_CSV = {
    b"\x1f\x8b": "compressed by gzip: unpack it first",
    b"PK\x03\x04": "a ZIP archive or an Excel file: save the table as CSV or Parquet",
    b"<": "HTML or XML: is this the address of a page rather than of the file?",
    b"{": "JSON: save the table as CSV or Parquet",
    b"[": "JSON: save the table as CSV or Parquet",
}
_OTHER_SEPARATORS = {";": "a semicolon", "\t": "a tab", "|": "a bar"}


def parse(content: bytes, settings: TrainingDefaults, *, place: str) -> pd.DataFrame:
    """The table in `content`, which has at least one row and uniquely named columns.

    `settings`: how large it may be.
    `place`: where the content came from, for the sentence that says what is wrong with it.
    """
    content = content.removeprefix(_BYTE_ORDER_MARK)
    if not content or content.isspace():
        raise BadData(f"{place} is empty: it needs a line of column names, and rows")
    parquet = content.startswith(_PARQUET)
    reader = _Reader(settings, place)
    try:
        return confined(
            functools.partial(reader.parquet if parquet else reader.csv, content),
            memory_bytes=settings.training_max_memory_bytes,
            seconds=settings.training_max_seconds,
        )
    except ConfinedError:
        broken = "is not a whole Parquet file: was it cut off? Or it" if parquet else ""
        raise BadData(
            f"{place} {broken} takes more than {settings.training_max_memory_bytes} bytes of memory"
            f" or {settings.training_max_seconds:g} s to read: take fewer rows or columns, or raise"
            f" TRAINING_MAX_MEMORY_BYTES or TRAINING_MAX_SECONDS {_WHERE}"
        ) from None


@dataclass(frozen=True)
class _Reader:
    """Reads a table up to the limits.

    `settings`: the limits.
    `place`: where the table came from.
    """

    settings: TrainingDefaults
    place: str

    def parquet(self, content: bytes) -> pd.DataFrame:
        """A table from Parquet."""
        try:
            # Its own reader: Pandas has deprecated this engine, and the other is too big to ship.
            with contextlib.redirect_stdout(None):  # It prints what it cannot make sense of.
                file = fastparquet.ParquetFile(io.BytesIO(content))
                self._check_shape(file.count(), len(file.columns))
                self._check_unpacked(file)
                frame = file.to_pandas(index=False)
        except (BadData, MemoryError):
            raise
        except Exception:  # noqa: BLE001 (a broken file raises whatever its bytes lead to)
            raise BadData(f"{self.place} is not a whole Parquet file: was it cut off?") from None
        frame.columns = frame.columns.map(str)
        return self._checked(frame, list(frame.columns))

    def csv(self, content: bytes) -> pd.DataFrame:
        """A table from CSV: what is in a cell is a value, whatever a spreadsheet made of it."""
        self._check_start(content)
        most = self.settings.training_max_rows
        try:
            with warnings.catch_warnings():
                # Of a row that is too long, Pandas would drop what is too much.
                warnings.simplefilter("error", pd.errors.ParserWarning)
                # Names are read as a row like any other: Pandas would rename a repeated one.
                names = pd.read_csv(io.BytesIO(content), header=None, nrows=1, dtype=str)
                frame = pd.read_csv(
                    io.BytesIO(content), index_col=False, low_memory=False, nrows=most + 1
                )
        except UnicodeDecodeError:
            raise BadData(
                f"{self.place} is not UTF-8 text: save the table as CSV in UTF-8"
            ) from None
        except (pd.errors.ParserError, pd.errors.ParserWarning) as error:
            if "out of memory" in str(error):
                raise MemoryError from None
            raise BadData(f"{self.place} is not a table: {_reason(error)}") from None
        if len(frame) > most:
            raise BadData(
                f"{self.place} has more than {most} rows: take fewer, or raise TRAINING_MAX_ROWS"
                f" {_WHERE}"
            )
        return self._checked(frame, [str(name) for name in names.iloc[0].dropna()])

    def _check_start(self, content: bytes) -> None:
        start = content[:_LOOK_BYTES].lstrip()
        for signature, what in _NOT_CSV.items():
            if start.startswith(signature):
                raise BadData(f"{self.place} is not a table but {what}")
        if b"\0" in content:
            raise BadData(
                f"{self.place} is not a table: it holds binary data, neither CSV nor Parquet"
            )
        # Of a line that is all names Pandas would make millions of columns first.
        most = self.settings.training_max_columns * _MOST_BYTES_OF_A_NAME
        lines = csv.reader(io.StringIO(content[:most].decode(errors="replace"), newline=""))
        with contextlib.suppress(csv.Error):  # Pandas says it better, or takes it.
            names = next((line for line in lines if line[1:] or "".join(line).strip()), [])
            self._check_shape(0, len(names))

    def _check_shape(self, rows: int, columns: int) -> None:
        for number, most, what in (
            (rows, self.settings.training_max_rows, "rows"),
            (columns, self.settings.training_max_columns, "columns"),
        ):
            if number > most:
                raise BadData(
                    f"{self.place} has {number} {what}, and {most} are allowed: take fewer, or"
                    f" raise TRAINING_MAX_{what.upper()} {_WHERE}"
                )

    def _check_unpacked(self, file: fastparquet.ParquetFile) -> None:
        """What the file says of itself. Where it lies, the process that reads it is ended."""
        most = self.settings.training_max_memory_bytes
        size = sum(
            column.meta_data.total_uncompressed_size
            for group in file.row_groups
            for column in group.columns
        )
        if size > most:
            raise BadData(
                f"{self.place} unpacks to {size} bytes, and {most} are allowed: take fewer rows,"
                f" or raise TRAINING_MAX_MEMORY_BYTES {_WHERE}"
            )

    def _checked(self, frame: pd.DataFrame, names: list[str]) -> pd.DataFrame:
        _check_names(names, self.place)
        if frame.empty:
            raise BadData(f"{self.place} has columns but no rows: there is nothing to learn from")
        most = self.settings.training_max_cell_characters
        for name in frame:
            longest = _longest(frame[name])
            if longest > most:
                raise BadData(
                    f"the column {name!r} of {self.place} has a text of {longest} characters, and"
                    f" {most} are allowed: shorten it, or raise TRAINING_MAX_CELL_CHARACTERS"
                    f" {_WHERE}"
                )
        return frame


def _longest(column: pd.Series) -> int:
    values = column.cat.categories if isinstance(column.dtype, pd.CategoricalDtype) else column
    if pd.api.types.is_numeric_dtype(values.dtype):
        return 0
    return max((len(value) for value in values if isinstance(value, str | bytes)), default=0)


def _check_names(names: list[str], place: str) -> None:
    for name in names:
        if len(name) > MOST_OF_COLUMN:
            raise BadData(
                f"{place} has a column whose name begins with {name[:_SHOWN]!r} and has {len(name)}"
                f" characters, and {MOST_OF_COLUMN} are allowed: give it a shorter one"
            )
    repeated = sorted(name for name, number in Counter(names).items() if number > 1)
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
