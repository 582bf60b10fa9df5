"""What a worker counts outlives it, and others can read it."""

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import structlog.testing
from prometheus_client import CollectorRegistry, Counter, Histogram, values

from api_host.workers import tally
from api_host.workers.counts import Counts
from api_host.workers.places import Places
from api_host.workers.tally import BYTES, Name, Tally, read

ROWS = Name("rows", ("iris",), ("rows_total",))
CALLS = Name("calls", (), ("calls_total",))

COUNT_FOR_EVER = """
import sys
from api_host.workers.tally import Name, Tally
file = open(sys.argv[1], "r+b")
tally = Tally(file.fileno(), "1")
place = tally.place(Name("calls", (), ("calls_total",)))
while True:
    tally.cells[place] += 1
    if tally.cells[place] == 1000:
        print("begun", flush=True)
"""


@pytest.fixture
def path(tmp_path: Path) -> Path:
    file = tmp_path / "0"
    file.touch()
    return file


@pytest.fixture
def file(path: Path) -> Iterator[int]:
    descriptor = os.open(path, os.O_RDWR)
    yield descriptor
    os.close(descriptor)


def count(numbers: Tally, name: Name, amount: float = 1) -> None:
    place = numbers.place(name)
    assert place is not None
    numbers.cells[place] += amount


def test_a_successor_goes_on_where_a_worker_ended(path: Path, file: int) -> None:
    count(Tally(file, "1"), ROWS, 2)
    after = Tally(file, "1")
    count(after, CALLS)
    count(after, ROWS, 0.5)
    assert read(path, "1") == {ROWS: 2.5, CALLS: 1}


def test_what_a_killed_worker_counted_is_there(path: Path) -> None:
    command = (sys.executable, "-c", COUNT_FOR_EVER, str(path))
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    with subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, text=True) as worker:
        assert worker.stdout is not None
        assert worker.stdout.readline() == "begun\n"
        worker.send_signal(signal.SIGKILL)
    assert read(path, "1")[CALLS] >= 1000


def test_what_was_counted_in_another_edition_is_forgotten(path: Path, file: int) -> None:
    count(Tally(file, "1"), ROWS, 2)
    assert read(path, "2") == {}
    count(Tally(file, "2"), CALLS)
    assert read(path, "2") == {CALLS: 1}
    assert read(path, "1") == {}


def test_a_name_that_was_not_written_to_its_end_is_none(path: Path, file: int) -> None:
    count(Tally(file, "1"), ROWS, 2)
    os.pwrite(file, b'["calls",[],["ca', path.stat().st_size)
    assert read(path, "1") == {ROWS: 2}
    count(Tally(file, "1"), CALLS, 3)
    assert read(path, "1") == {ROWS: 2, CALLS: 3}


@pytest.mark.parametrize("content", [b"", b"x", bytes(BYTES), bytes(BYTES) + b"1\n[]\n"])
def test_a_damaged_file_is_begun_anew(path: Path, file: int, content: bytes) -> None:
    path.write_bytes(content)
    assert read(path, "1") == {}
    count(Tally(file, "1"), ROWS)
    assert read(path, "1") == {ROWS: 1}


def test_where_nobody_counted_there_is_nothing(tmp_path: Path) -> None:
    assert read(tmp_path / "nobody", "1") == {}


def test_a_file_takes_its_room_at_once(path: Path, file: int) -> None:
    Tally(file, "1")
    assert path.stat().st_blocks * 512 >= BYTES


def test_when_there_is_no_room_for_more_a_worker_counts_the_rest_for_itself(
    path: Path, file: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tally, "CELLS", 1)
    numbers = Tally(file, "1")
    with structlog.testing.capture_logs() as lines:
        assert [numbers.place(name) for name in (ROWS, CALLS, CALLS, ROWS)] == [0, None, None, 0]
    assert [line["event"] for line in lines] == ["not all is counted for all workers"]
    assert read(path, "1").keys() == {ROWS}


def test_places_are_free_again_when_their_workers_end(tmp_path: Path) -> None:
    places = Places(tmp_path / "workers")
    first, second = places.take(), places.take()
    assert (first.number, second.number) == (0, 1)
    first.leave()
    assert places.numbers() == [0, 1]
    assert [places.is_held(number) for number in (0, 1, 2)] == [False, True, False]
    assert places.take().number == 0


def test_metrics_show_what_all_have_counted(
    file: int, path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    counts = Counts()
    monkeypatch.setattr(values, "ValueClass", counts.value)
    registry = CollectorRegistry()
    calls = Counter("calls", "Calls.", registry=registry)
    sizes = Histogram("sizes", "Sizes.", ("model",), buckets=(1, 10), registry=registry)
    calls.inc()
    sizes.labels("iris").observe(5)
    counts.move(Tally(file, "1"))
    calls.inc(2)
    sizes.labels("iris").observe(500)
    told = read(path, "1")
    assert told[CALLS] == 3
    assert told[Name("sizes", ("iris",), ("sizes_bucket", "10.0"))] == 1
    assert told[Name("sizes", ("iris",), ("sizes_bucket", "+Inf"))] == 1
    counts.elsewhere = told
    assert registry.get_sample_value("calls_total") == 6
    for bound, expected in (("1.0", 0), ("10.0", 2), ("+Inf", 4)):
        labels = {"model": "iris", "le": bound}
        assert registry.get_sample_value("sizes_bucket", labels) == expected
    assert registry.get_sample_value("sizes_sum", {"model": "iris"}) == 1010
