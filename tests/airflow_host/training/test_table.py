import contextlib
import io
import zipfile
from pathlib import Path

import fastparquet
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from airflow_host.training.errors import BadData
from airflow_host.training.table import parse
from tests.airflow_host.training import tables


@pytest.fixture
def parquet(tmp_path: Path) -> bytes:
    path = tmp_path / "t.parquet"
    fastparquet.write(str(path), tables.mixed())
    return path.read_bytes()


def test_csv_and_parquet_give_the_same_table(parquet: bytes) -> None:
    from_csv = parse(tables.csv(tables.mixed()), place=tables.PLACE)
    from_parquet = parse(parquet, place=tables.PLACE)

    assert list(from_csv) == list(from_parquet)
    pd.testing.assert_frame_equal(
        tables.samples(from_csv).features, tables.samples(from_parquet).features
    )


def test_a_byte_order_mark_is_no_part_of_a_name() -> None:
    assert list(parse("\ufeffa,b\n1,2\n".encode(), place=tables.PLACE)) == ["a", "b"]


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
        parse(content, place=tables.PLACE)


def test_an_excel_file_is_told() -> None:
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w") as archive:
        archive.writestr("xl/workbook.xml", "<workbook/>")

    with pytest.raises(BadData, match="Excel"):
        parse(file.getvalue(), place=tables.PLACE)


@pytest.mark.parametrize("share", [0.1, 0.5, 0.9, 0.99])
def test_a_part_of_a_parquet_file_is_told(parquet: bytes, share: float) -> None:
    with pytest.raises(BadData, match="is not a whole Parquet file"):
        parse(parquet[: int(len(parquet) * share)], place=tables.PLACE)


@given(st.binary())
def test_any_bytes_are_a_table_or_bad_data(content: bytes) -> None:
    with contextlib.suppress(BadData):
        assert len(parse(content, place=tables.PLACE)) > 0


@pytest.mark.parametrize("footer", [b"x" * 4, b"\0" * 4, b"\xff" * 4, b"\x40\0\0\0"])
def test_a_footer_that_makes_no_sense_is_bad_data(parquet: bytes, footer: bytes) -> None:
    with pytest.raises(BadData, match="is not a whole Parquet file"):
        parse(parquet[:-8] + footer + b"PAR1", place=tables.PLACE)


def test_a_parquet_file_that_crashes_the_reader_is_bad_data() -> None:
    # The length of the footer, which is read without a look at how much there is.
    with pytest.raises(BadData, match="is not a whole Parquet file"):
        parse(b"PAR1" + b"1" * 40 + b"PAR1", place=tables.PLACE)
