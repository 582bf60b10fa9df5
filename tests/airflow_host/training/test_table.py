import contextlib
import io
import zipfile
from pathlib import Path

import fastparquet
import pandas as pd
import pytest
from fastparquet.cencoding import from_buffer
from hypothesis import given, settings
from hypothesis import strategies as st

from airflow_host.training.errors import BadData
from airflow_host.training.table import parse
from tests.airflow_host.training import tables
from tests.airflow_host.training.limits import limits

LIMITS = limits()
MIB = 1024 * 1024


@pytest.fixture
def parquet(tmp_path: Path) -> bytes:
    path = tmp_path / "t.parquet"
    fastparquet.write(str(path), tables.mixed())
    return path.read_bytes()


def test_csv_and_parquet_give_the_same_table(parquet: bytes) -> None:
    from_csv = parse(tables.csv(tables.mixed()), LIMITS, place=tables.PLACE)
    from_parquet = parse(parquet, LIMITS, place=tables.PLACE)

    assert list(from_csv) == list(from_parquet)
    pd.testing.assert_frame_equal(
        tables.samples(from_csv).features, tables.samples(from_parquet).features
    )


def test_a_byte_order_mark_is_no_part_of_a_name() -> None:
    assert list(parse("\ufeffa,b\n1,2\n".encode(), LIMITS, place=tables.PLACE)) == ["a", "b"]


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (b"", "is empty"),
        (b" \n\n", "is empty"),
        (b"a,b\n", "has columns but no rows"),
        (b"<!DOCTYPE html><p>Not found</p>", "HTML or XML"),
        (b'{"a": [1, 2]}', "JSON"),
        (b'\n[{"a": 1}]', "JSON"),
        (b"\x1f\x8b\x08abc", "compressed by gzip"),
        (b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR", "binary data"),
        ("name,Größe\na,1\n".encode("latin-1"), "is not UTF-8 text"),
        (b"a,b\n1,2\n1,2,3\n", "Expected 2 fields in line 3, saw 3"),
        (b"a,b\n1,2,3\n1,2,3\n", "a row has more fields than there are column names"),
        (b'a,b\n"1,2\n', "EOF inside string"),
        (b"a,b,a\n1,2,3\n", "more than one column 'a'"),
        (b"a;b\n1;2\n", "separated by a semicolon"),
        (b"a\tb\n1\t2\n", "separated by a tab"),
        (b"PAR1", "is not a whole Parquet file"),
    ],
)
def test_what_is_not_a_table_is_told(content: bytes, reason: str) -> None:
    with pytest.raises(BadData, match=f"^{tables.PLACE} .*{reason}"):
        parse(content, LIMITS, place=tables.PLACE)


def test_an_excel_file_is_told() -> None:
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w") as archive:
        archive.writestr("xl/workbook.xml", "<workbook/>")

    with pytest.raises(BadData, match="Excel"):
        parse(file.getvalue(), LIMITS, place=tables.PLACE)


@pytest.mark.parametrize("share", [0.1, 0.5, 0.9, 0.99])
def test_a_part_of_a_parquet_file_is_told(parquet: bytes, share: float) -> None:
    with pytest.raises(BadData, match="is not a whole Parquet file"):
        parse(parquet[: int(len(parquet) * share)], LIMITS, place=tables.PLACE)


@given(st.binary())
@settings(max_examples=40)  # Each takes a process.
def test_any_bytes_are_a_table_or_bad_data(content: bytes) -> None:
    with contextlib.suppress(BadData):
        assert len(parse(content, LIMITS, place=tables.PLACE)) > 0


@pytest.mark.parametrize("footer", [b"x" * 4, b"\0" * 4, b"\xff" * 4, b"\x40\0\0\0"])
def test_a_footer_that_makes_no_sense_is_bad_data(parquet: bytes, footer: bytes) -> None:
    with pytest.raises(BadData, match="is not a whole Parquet file"):
        parse(parquet[:-8] + footer + b"PAR1", LIMITS, place=tables.PLACE)


def test_a_parquet_file_that_crashes_the_reader_is_bad_data() -> None:
    # The length of the footer, which is read without a look at how much there is.
    with pytest.raises(BadData, match="is not a whole Parquet file"):
        parse(b"PAR1" + b"1" * 40 + b"PAR1", LIMITS, place=tables.PLACE)


def rows(number: int, columns: int = 2) -> bytes:
    """A table of that size."""
    names = ",".join(f"c{number}" for number in range(columns))
    return f"{names}\n".encode() + (b"1," * (columns - 1) + b"2\n") * number


def parquet_of(frame: pd.DataFrame, folder: Path, **options: str) -> bytes:
    """A table as a Parquet file."""
    fastparquet.write(str(folder / "made.parquet"), frame, **options)
    return (folder / "made.parquet").read_bytes()


def test_a_table_may_be_as_large_as_its_limits(tmp_path: Path) -> None:
    exact = limits(TRAINING_MAX_ROWS="9", TRAINING_MAX_COLUMNS="3")
    frame = pd.DataFrame({"a": range(9), "b": range(9), "c": range(9)})

    for content in (rows(9, 3), parquet_of(frame, tmp_path)):
        assert parse(content, exact, place=tables.PLACE).shape == (9, 3)


@pytest.mark.parametrize(
    ("limit", "told"),
    [
        ({"TRAINING_MAX_ROWS": "9"}, r"has (more than 9|10) rows.*TRAINING_MAX_ROWS"),
        ({"TRAINING_MAX_COLUMNS": "2"}, "has 3 columns, and 2.*TRAINING_MAX_COLUMNS"),
        (
            {"TRAINING_MAX_CELL_CHARACTERS": "4"},
            "has a text of 5 characters, and 4 are .*TRAINING_MAX_CELL_CHARACTERS",
        ),
    ],
)
def test_what_is_beyond_them_is_told_with_the_setting(
    limit: dict[str, str], told: str, tmp_path: Path
) -> None:
    frame = pd.DataFrame({"a": range(10), "b": range(10), "c": ["=1+2x"] * 10})

    for content in (tables.csv(frame), parquet_of(frame, tmp_path)):
        with pytest.raises(BadData, match=f"{tables.PLACE} {told}"):
            parse(content, limits(**limit), place=tables.PLACE)


def test_a_name_that_is_too_long_is_told_in_part(tmp_path: Path) -> None:
    frame = pd.DataFrame({"x" * 257: [1, 2], "y": [3, 4]})

    for content in (tables.csv(frame), parquet_of(frame, tmp_path)):
        with pytest.raises(BadData, match=r"begins with 'x{40}' and has 257 characters, and 256"):
            parse(content, LIMITS, place=tables.PLACE)


@pytest.mark.parametrize("line", [b",", b'"a",', b"a,", b'"",'])
def test_a_line_of_millions_of_names_is_not_made_into_columns(line: bytes) -> None:
    with pytest.raises(BadData, match=r"has \d+ columns, and 2000 are allowed"):
        parse(line * 3_000_000 + b"\n1,2\n", LIMITS, place=tables.PLACE)


def test_a_line_of_millions_of_values_is_no_row() -> None:
    with pytest.raises(BadData, match=r"is not a table|of memory"):
        parse(b"a,b\n" + b"," * 300_000, LIMITS, place=tables.PLACE)


@pytest.mark.parametrize(
    "text",
    ["=1+1", "=cmd|' /C calc'!A0", "@SUM(1)", "+1+1", "-2+3", "$(touch x)", "{{ 7 * 7 }}", "`id`"],
)
def test_what_looks_like_a_formula_is_text(text: str) -> None:
    content = tables.csv(pd.DataFrame({"number": [1, 2], text: [text, "plain"]}))

    frame = parse(content, LIMITS, place=tables.PLACE)

    assert list(frame) == ["number", text]
    assert list(frame[text]) == [text, "plain"]


def test_a_parquet_file_says_what_it_unpacks_to(tmp_path: Path) -> None:
    frame = pd.DataFrame({"a": ["x" * 1000 + str(number % 2) for number in range(300_000)]})
    content = parquet_of(frame, tmp_path, compression="GZIP")
    small = limits(TRAINING_MAX_MEMORY_BYTES=str(256 * MIB))

    assert len(content) < 10 * MIB
    with pytest.raises(BadData, match=r"unpacks to 30\d{7} bytes.*TRAINING_MAX_MEMORY_BYTES"):
        parse(content, small, place=tables.PLACE)


def test_a_parquet_file_that_lies_takes_no_more_than_it_may(tmp_path: Path) -> None:
    frame = pd.DataFrame({"a": ["x" * 1000 + str(number % 2) for number in range(300_000)]})
    content = lying(parquet_of(frame, tmp_path, compression="GZIP"))
    small = limits(TRAINING_MAX_MEMORY_BYTES=str(256 * MIB))

    with pytest.raises(BadData, match="takes more than 268435456 bytes of memory"):
        parse(content, small, place=tables.PLACE)


def lying(parquet: bytes) -> bytes:
    """The same file, which says that it unpacks to nothing."""
    length = int.from_bytes(parquet[-8:-4], "little")
    start = len(parquet) - 8 - length
    footer = from_buffer(parquet[start:-8], "FileMetaData")
    for group in footer.row_groups:
        for column in group.columns:
            column.meta_data.total_uncompressed_size = 0
    changed: bytes = footer.to_bytes()
    return parquet[:start] + changed + len(changed).to_bytes(4, "little") + b"PAR1"
