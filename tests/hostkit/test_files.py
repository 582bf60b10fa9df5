import multiprocessing
import os
import resource
import secrets
import signal
import stat
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import TypeAdapter, ValidationError

from hostkit.files import AbsolutePath, read_or_create, write_atomically

FORK = multiprocessing.get_context("fork")
BIG = 1 << 20


def in_another_process(function: Callable[[], None]) -> int | None:
    process = FORK.Process(target=function)
    process.start()
    process.join()
    return process.exitcode


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("files")


@given(content=st.one_of(st.binary(), st.text(st.characters(codec="utf-8"))))
def test_what_was_written_is_read(folder: Path, content: str | bytes) -> None:
    path = folder / "file"
    write_atomically(path, content)
    assert path.read_bytes() == (content.encode() if isinstance(content, str) else content)
    assert list(folder.iterdir()) == [path]


@pytest.mark.parametrize("mode", [0o644, 0o640, 0o600])
def test_the_mode_is_exact_whatever_the_umask(tmp_path: Path, mode: int) -> None:
    previous = os.umask(0o077)
    try:
        write_atomically(tmp_path / "file", "content", mode=mode)
    finally:
        os.umask(previous)
    assert stat.S_IMODE((tmp_path / "file").stat().st_mode) == mode


def test_a_full_disk_leaves_the_old_content_and_nothing_else(tmp_path: Path) -> None:
    path = tmp_path / "file"
    write_atomically(path, "old")

    def write_more_than_fits() -> None:
        resource.setrlimit(resource.RLIMIT_FSIZE, (BIG, BIG))
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        with pytest.raises(OSError, match="File too large") as raised:
            write_atomically(path, b"n" * (2 * BIG))
        assert raised.value.filename == str(path)

    assert in_another_process(write_more_than_fits) == 0
    assert path.read_text() == "old"
    assert list(tmp_path.iterdir()) == [path]


def test_a_folder_that_is_missing_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        write_atomically(tmp_path / "none" / "file", "content")


def test_a_reader_never_sees_a_part_though_the_writer_is_killed(tmp_path: Path) -> None:
    path = tmp_path / "file"
    contents = {letter * BIG for letter in (b"a", b"b")}
    write_atomically(path, b"a" * BIG)

    def write_for_ever() -> None:
        while True:
            for content in contents:
                write_atomically(path, content)

    writer = FORK.Process(target=write_for_ever)
    writer.start()
    seen: set[bytes] = set()
    while len(seen) < 2:
        seen.add(path.read_bytes())
    writer.kill()
    writer.join()
    assert seen == contents
    assert path.read_bytes() in contents


def test_of_many_processes_one_makes_the_value(tmp_path: Path) -> None:
    path = tmp_path / "key"
    barrier = FORK.Barrier(16)
    values = FORK.SimpleQueue()

    def ask() -> None:
        barrier.wait()
        values.put(read_or_create(path, secrets.token_hex))

    processes = [FORK.Process(target=ask) for _ in range(16)]
    for process in processes:
        process.start()
    for process in processes:
        process.join()
    assert {values.get() for _ in processes} == {path.read_text()}
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert list(tmp_path.iterdir()) == [path]


def test_a_value_is_made_once(tmp_path: Path) -> None:
    first = read_or_create(tmp_path / "key", secrets.token_hex)
    assert read_or_create(tmp_path / "key", secrets.token_hex) == first


def test_an_absolute_path() -> None:
    adapter = TypeAdapter(AbsolutePath)
    assert adapter.validate_python("/var/lib") == Path("/var/lib")
    with pytest.raises(ValidationError, match="absolute"):
        adapter.validate_python("var/lib")
