import os
import threading
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from airflow_host.training import files
from airflow_host.training.errors import BadData

TABLE = b"a,b\n1,2\n"
SECRET = b"secret\n1\n"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """The folder of tables, beside a file that is nobody's business."""
    (tmp_path / "secret.csv").write_bytes(SECRET)
    (tmp_path / "tables" / "deep").mkdir(parents=True)
    (tmp_path / "tables" / "t.csv").write_bytes(TABLE)
    (tmp_path / "tables" / "deep" / "t.csv").write_bytes(TABLE)
    return tmp_path / "tables"


def read(path: Path | str, *folders: Path) -> bytes:
    return b"".join(files.read(str(path), folders))


def test_a_file_below_a_folder_is_read(folder: Path) -> None:
    assert read(folder / "t.csv", folder) == TABLE
    assert read(folder / "deep" / "t.csv", Path("/nowhere"), folder) == TABLE
    assert read(f"{folder}//deep/./t.csv", folder) == TABLE


def test_a_folder_that_is_a_link_is_the_folder_that_it_leads_to(folder: Path) -> None:
    link = folder.parent / "link"
    link.symlink_to(folder)

    assert read(link / "t.csv", link) == TABLE
    assert read(folder / "t.csv", link) == TABLE
    assert read(link / "t.csv", folder.parent) == TABLE


def test_a_link_within_the_folder_is_followed(folder: Path) -> None:
    (folder / "newest.csv").symlink_to("deep/t.csv")

    assert read(folder / "newest.csv", folder) == TABLE


def test_a_link_that_leads_out_is_refused(folder: Path) -> None:
    (folder / "file.csv").symlink_to("../secret.csv")
    (folder / "out").symlink_to(folder.parent)

    for path in (folder / "file.csv", folder / "out" / "secret.csv"):
        with pytest.raises(BadData, match=f"not below a folder of TRAINING_DATA_FOLDERS.*{folder}"):
            read(path, folder)


@pytest.mark.parametrize(
    "path",
    [
        "{folder}/../secret.csv",
        "{folder}/deep/../../secret.csv",
        "{folder}/deep/../t.csv",
        "{folder}-other/t.csv",
        "{folder}/%2e%2e/secret.csv",
        "{folder}/..%2fsecret.csv",
        "{folder}/t.csv\0.png",
        "/etc/passwd",
        "/proc/self/environ",
        "//etc/passwd",
    ],
)
def test_no_spelling_leads_out(folder: Path, path: str) -> None:
    with pytest.raises((BadData, FileNotFoundError)):
        read(path.format(folder=folder), folder)


def test_what_is_outside_is_not_even_looked_for(folder: Path) -> None:
    sentences = []
    for name in ("secret.csv", "no-such-file.csv"):
        with pytest.raises(BadData) as refusal:
            read(folder.parent / name, folder)
        sentences.append(str(refusal.value).replace(name, "NAME"))

    assert sentences[0] == sentences[1]


def test_a_pipe_is_no_table_and_nobody_waits_for_it(folder: Path) -> None:
    os.mkfifo(folder / "pipe.csv")

    with pytest.raises(BadData, match="no ordinary file"):
        read(folder / "pipe.csv", folder)


def test_a_device_and_what_the_system_says_are_no_tables() -> None:
    for path in ("/dev/zero", "/proc/self/environ", "/proc/self/fd/0", "/sys/kernel/mm"):
        with pytest.raises(BadData, match="cannot be read"):
            read(path, Path("/"))


def test_what_the_operator_names_may_be_anywhere_but_is_a_file(folder: Path) -> None:
    assert b"".join(files.read(str(folder.parent / "secret.csv"), None)) == SECRET
    with pytest.raises(BadData, match="no ordinary file"):
        b"".join(files.read("/dev/null", None))


def test_a_link_that_is_switched_all_the_time_never_leads_out(folder: Path) -> None:
    link, done = folder / "switched.csv", threading.Event()

    def switch() -> None:
        while not done.is_set():
            for target in ("t.csv", "../secret.csv"):
                (folder / "next").symlink_to(target)
                (folder / "next").replace(link)

    link.symlink_to("t.csv")
    thread = threading.Thread(target=switch)
    thread.start()
    seen = set()
    try:
        for _ in range(2000):
            try:
                seen.add(read(link, folder))
            except BadData:
                seen.add(b"refused")
    finally:
        done.set()
        thread.join()

    assert SECRET not in seen
    assert TABLE in seen


@given(
    st.lists(st.sampled_from(["..", ".", "", "tables", "t.csv", "secret.csv", "%2e%2e", "deep"]))
)
def test_no_path_leads_out(steps: list[str]) -> None:
    with pytest.raises((BadData, OSError)):
        read("/".join(["", "tmp", *steps]), Path("/tmp/tables-that-are-nowhere"))
