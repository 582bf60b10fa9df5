"""What workers count together: against a model, by several processes, and when one is killed."""

import math
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from tempfile import TemporaryDirectory

import lmdb
import pytest
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from api_host.rates import storage
from api_host.rates.presence import Presence
from api_host.rates.storage import CountsError, LocalStorage, open_counts
from api_host.rates.windows import Quota, Window

KEYS = st.sampled_from(["shop", "press", "x" * 600])
QUOTAS = {"shop": (10, 1), "press": (100, 60), "x" * 600: (5, 3600)}
"""How much, and within how many seconds, by key."""

FOR_EVER = 10**9
WAIT_SECONDS = 60


class Machine(RuleBasedStateMachine):
    """A clock, a storage, and all that was ever used."""

    def __init__(self) -> None:
        super().__init__()
        self.folder = TemporaryDirectory()
        self.counts = open_counts(Path(self.folder.name))
        self.now = 1000.0
        self.used: dict[str, list[tuple[float, int]]] = {}
        self.storage = LocalStorage(self.counts, lambda: self.now)

    def teardown(self) -> None:
        self.counts.close()
        self.folder.cleanup()

    def sums(self, key: str) -> tuple[int, int, float]:
        """What was used in the window before and in this one, and the share of the former."""
        _, seconds = QUOTAS[key]
        window = self.now // seconds
        by_window = {
            each: sum(n for at, n in self.used.get(key, []) if at // seconds == each)
            for each in (window - 1, window)
        }
        return by_window[window - 1], by_window[window], 1 - self.now % seconds / seconds

    @rule(key=KEYS, amount=st.integers(1, 12))
    def use(self, key: str, amount: int) -> None:
        limit, seconds = QUOTAS[key]
        previous, current, share = self.sums(key)
        may = math.floor(previous * share) + current + amount <= limit
        assert self.storage.acquire_sliding_window_entry(key, limit, seconds, amount) == may
        if may:
            self.used.setdefault(key, []).append((self.now, amount))

    @rule(key=KEYS)
    def give_back(self, key: str) -> None:
        limit, seconds = QUOTAS[key]
        if self.sums(key)[1]:
            assert self.storage.acquire_sliding_window_entry(key, limit, seconds, -1)
            self.used[key].append((self.now, -1))

    @rule(seconds=st.sampled_from([0.125, 0.5, 1.0, 7.0, 60.0, 1800.0, 7200.0]))
    def wait(self, seconds: float) -> None:
        self.now += seconds

    @rule()
    def start_again(self) -> None:
        self.counts.close()
        self.counts = open_counts(Path(self.folder.name))
        self.storage = LocalStorage(self.counts, lambda: self.now)

    @rule()
    def boot(self) -> None:
        """The clock begins anew: whatever was counted is over."""
        if self.now > 20_000:
            self.now = 1000.0
            self.used.clear()

    @rule(key=KEYS)
    def ask_for_more_than_there_is(self, key: str) -> None:
        limit, seconds = QUOTAS[key]
        quota, window = Quota("any", limit, seconds), self.window(key)
        assert window.seconds_until(limit + 1, quota) == window.seconds_until(limit, quota)

    @rule(key=KEYS)
    def retry_when_told(self, key: str) -> None:
        limit, seconds = QUOTAS[key]
        quota = Quota("any", limit, seconds)
        self.now += self.window(key).seconds_until(limit, quota) + 1e-6
        assert self.window(key).left(quota) == limit

    def window(self, key: str) -> Window:
        previous, seconds, current, _ = self.storage.get_sliding_window(key, QUOTAS[key][1])
        return Window(previous, seconds, current)

    @invariant()
    def all_is_known(self) -> None:
        for key, (_, seconds) in QUOTAS.items():
            previous, current, share = self.sums(key)
            found = self.window(key)
            assert (found.previous, found.current) == (previous, current)
            assert found.previous_seconds == pytest.approx(share * seconds)


Machine.TestCase.settings = hypothesis_settings(
    max_examples=40, stateful_step_count=30, deadline=None
)
test_the_storage_counts_as_its_model = Machine.TestCase


@pytest.fixture
def counts(tmp_path: Path) -> Iterator[lmdb.Environment]:
    with open_counts(tmp_path) as counts:
        yield counts


def run(program: str, folder: Path) -> subprocess.Popen[str]:
    """Another worker."""
    head = (
        "import sys; from pathlib import Path\n"
        "from api_host.rates.presence import Presence\n"
        "from api_host.rates.storage import LocalStorage, open_counts\n"
        "folder = Path(sys.argv[1]); counts = open_counts(folder)\n"
    )
    return subprocess.Popen(
        [sys.executable, "-c", head + program, str(folder)],
        env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
        stdout=subprocess.PIPE,
        text=True,
    )


def test_two_windows_that_meet_let_no_more_through_than_one(counts: lmdb.Environment) -> None:
    now = 99.999
    found = LocalStorage(counts, lambda: now)
    assert found.acquire_sliding_window_entry("shop", 100, 1, 100)
    now = 100.001
    assert not found.acquire_sliding_window_entry("shop", 100, 1, 2)


def test_two_workers_share_one_limit(tmp_path: Path) -> None:
    hammer = (
        "storage = LocalStorage(counts)\n"
        f"print(sum(storage.acquire_sliding_window_entry('shop', 3000, {FOR_EVER})"
        " for _ in range(2500)))"
    )
    with run(hammer, tmp_path) as one, run(hammer, tmp_path) as other:
        used = [int(each.communicate(timeout=WAIT_SECONDS)[0]) for each in (one, other)]
    assert sum(used) == 3000


def test_a_worker_that_is_killed_while_it_counts_stops_no_other(
    tmp_path: Path, counts: lmdb.Environment
) -> None:
    found = LocalStorage(counts)
    for _ in range(5):
        hammer = (
            "storage = LocalStorage(counts)\nprint('begun', flush=True)\n"
            f"while True: storage.acquire_sliding_window_entry('shop', 10**12, {FOR_EVER})"
        )
        with run(hammer, tmp_path) as other:
            assert other.stdout is not None
            assert other.stdout.readline() == "begun\n"
            for _ in range(500):
                assert found.acquire_sliding_window_entry("shop", 10**12, FOR_EVER)
            other.send_signal(signal.SIGKILL)
    assert found.acquire_sliding_window_entry("press", 1, FOR_EVER)
    assert not found.acquire_sliding_window_entry("press", 1, FOR_EVER)


def test_requests_of_a_worker_that_was_killed_do_not_count(
    tmp_path: Path, counts: lmdb.Environment
) -> None:
    presence = Presence(counts, tmp_path / "workers")
    enter = (
        "presence = Presence(counts, folder / 'workers')\n"
        "print([presence.enter('shop', 3) for _ in range(3)], flush=True)\n"
        "sys.stdin.read()"
    )
    with run(enter, tmp_path) as other:
        assert other.stdout is not None
        assert other.stdout.readline() == "[2, 1, 0]\n"
        assert presence.enter("shop", 3) == -1
        other.send_signal(signal.SIGKILL)
        other.wait(WAIT_SECONDS)
    assert [presence.enter("shop", 3) for _ in range(4)] == [2, 1, 0, -1]
    presence.close()


def test_a_request_that_ends_makes_room(tmp_path: Path, counts: lmdb.Environment) -> None:
    presence = Presence(counts, tmp_path / "workers")
    other = Presence(counts, tmp_path / "workers")
    assert (presence.enter("shop", 2), other.enter("shop", 2)) == (1, 0)
    assert presence.enter("shop", 2) == -1
    other.leave("shop")
    assert presence.enter("shop", 2) == 0
    assert presence.enter("press", 2) == 1
    other.close()
    presence.close()


def test_who_takes_a_place_has_none_of_its_predecessor_s_requests(
    tmp_path: Path, counts: lmdb.Environment
) -> None:
    before = Presence(counts, tmp_path / "workers")
    before.enter("shop", 9)
    before.close()
    after = Presence(counts, tmp_path / "workers")
    assert after.enter("shop", 9) == 8
    after.close()


def test_callers_without_end_leave_room(
    counts: lmdb.Environment, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(storage, "MOST_RECORDS", 100)
    now = 0.0
    found = LocalStorage(counts, lambda: now)
    for number in range(1000):
        now = number / 10
        assert found.acquire_sliding_window_entry(f"caller {number}", 1, 1)
        assert not found.acquire_sliding_window_entry(f"caller {number}", 1, 1)
    assert found.reset() <= 100


def test_as_many_callers_as_may_be_fit_into_the_file(counts: lmdb.Environment) -> None:
    found = LocalStorage(counts)
    for number in range(storage.MOST_RECORDS + 10):
        name = f"{number * 7919 % 65521:05}" + "x" * (storage.LONGEST_KEY - 5)
        assert found.acquire_sliding_window_entry(name, 1000, FOR_EVER)


def test_a_file_that_is_broken_is_made_anew(tmp_path: Path) -> None:
    (tmp_path / "counts").write_bytes(b"nonsense" * 4096)
    with open_counts(tmp_path) as counts:
        assert LocalStorage(counts).acquire_sliding_window_entry("shop", 1, FOR_EVER)


def test_a_folder_that_is_none_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(CountsError, match=r"file/counts, where .* cannot be used"):
        open_counts(tmp_path / "file")
