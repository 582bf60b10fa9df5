import zipfile
from pathlib import Path

import pytest

from reproducible import first_difference

Entry = tuple[str, str, int]
NEW_YEAR = (2026, 1, 1, 0, 0, 0)
SCRIPT: Entry = ("__main__.py", "run()", 0o755)
MODULE: Entry = ("host/cli.py", "def run(): ...", 0o644)


def write_zip(path: Path, *entries: Entry) -> Path:
    with zipfile.ZipFile(path, "w") as file:
        for name, content, mode in entries:
            info = zipfile.ZipInfo(name, NEW_YEAR)
            info.external_attr = mode << 16
            file.writestr(info, content)
    return path


@pytest.mark.parametrize(
    ("entries", "difference"),
    [
        ((SCRIPT, MODULE), None),
        ((SCRIPT, ("host/cli.py", "def run(): 1/0", 0o644)), "the content of host/cli.py"),
        ((SCRIPT, ("host/cli.py", "def run(): ...", 0o600)), "the time or mode of host/cli.py"),
        ((MODULE, SCRIPT), "__main__.py stands where the other has host/cli.py"),
        ((SCRIPT, MODULE, ("host/py.typed", "", 0o644)), "one has more files than the other"),
    ],
)
def test_the_first_difference_is_named(
    tmp_path: Path, entries: tuple[Entry, ...], difference: str | None
) -> None:
    one = write_zip(tmp_path / "one.pex", SCRIPT, MODULE)
    other = write_zip(tmp_path / "other.pex", *entries)
    assert first_difference(one, other) == difference


def test_a_difference_before_the_first_file_is_one(tmp_path: Path) -> None:
    one = write_zip(tmp_path / "one.pex", SCRIPT)
    other = tmp_path / "other.pex"
    other.write_bytes(b"#!/usr/bin/env python3.11\n" + one.read_bytes())
    assert first_difference(one, other) == "bytes outside of the files"
