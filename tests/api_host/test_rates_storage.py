"""What workers count together: against a model, by several processes, and when one is killed."""

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
from api_host.rates.storage import CountsError, Windows, open_counts, record_name
from api_host.rates.windows import Quota, Window

KEYS = st.sampled_from(["shop", "press", "x" * 600])
QUOTAS = {
    "shop": Quota("any", 10, 1),
    "press": Quota("any", 100, 60),
    "x" * 600: Quota("any", 5, 3600),
}

FOR_EVER = 10**9
SHOP, PRESS = b"shop", b"press"
ONE = Quota("any", 1, FOR_EVER)
WAIT_SECONDS = 60


class Machine(RuleBasedStateMachine):
    """A clock, counts, and all that was ever used."""

    def __init__(self) -> None:
        super().__init__()
        self.folder = TemporaryDirectory()
        self.counts = open_counts(Path(self.folder.name))
        self.now = 1000.0
        self.used: dict[str, list[tuple[float, int]]] = {}
        self.windows = Windows(self.counts, lambda: self.now)

    def teardown(self) -> None:
        self.counts.close()
        self.folder.cleanup()

    def sums(self, key: str) -> tuple[int, int, float]:
        """What was used in the window before and in this one, and the seconds until it ends."""
        seconds = QUOTAS[key].seconds
        window = self.now // seconds
        by_window = {
            each: sum(n for at, n in self.used.get(key, []) if at // seconds == each)
            for each in (window - 1, window)
        }
        return by_window[window - 1], by_window[window], seconds - self.now % seconds

    @rule(key=KEYS, amount=st.integers(1, 12))
    def use(self, key: str, amount: int) -> None:
        quota = QUOTAS[key]
        previous, current, left = self.sums(key)
        may = previous * left // quota.seconds + current + amount <= quota.amount
        assert self.windows.use(record_name(key), quota, amount).may == may
        if may:
            self.used.setdefault(key, []).append((self.now, amount))

    @rule(key=KEYS)
    def give_back(self, key: str) -> None:
        if self.sums(key)[1]:
            assert self.windows.use(record_name(key), QUOTAS[key], -1).may
            self.used[key].append((self.now, -1))

    @rule(seconds=st.sampled_from([0.125, 0.5, 1.0, 7.0, 60.0, 1800.0, 7200.0]))
    def wait(self, seconds: float) -> None:
        self.now += seconds

    @rule()
    def start_again(self) -> None:
        self.counts.close()
        self.counts = open_counts(Path(self.folder.name))
        self.windows = Windows(self.counts, lambda: self.now)

    @rule()
    def boot(self) -> None:
        """The clock begins anew: whatever was counted is over."""
        if self.now > 20_000:
            self.now = 1000.0
            self.used.clear()

    @rule(key=KEYS)
    def ask_for_more_than_there_is(self, key: str) -> None:
        quota, window = QUOTAS[key], self.window(key)
        most = quota.amount
        assert window.seconds_until(most + 1, quota) == window.seconds_until(most, quota)

    @rule(key=KEYS)
    def retry_when_told(self, key: str) -> None:
        quota = QUOTAS[key]
        self.now += self.window(key).seconds_until(quota.amount, quota) + 1e-6
        assert self.window(key).left(quota) == quota.amount

    def window(self, key: str) -> Window:
        return self.windows.window(record_name(key), QUOTAS[key])

    @invariant()
    def all_is_known(self) -> None:
        for key in QUOTAS:
            previous, current, left = self.sums(key)
            found = self.window(key)
            assert (found.previous, found.current) == (previous, current)
            assert found.previous_seconds == pytest.approx(left)


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
        "from api_host.rates.storage import Windows, open_counts\n"
        "from api_host.rates.windows import Quota\n"
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
    found = Windows(counts, lambda: now)
    assert found.use(SHOP, Quota("any", 100, 1), 100).may
    now = 100.001
    assert not found.use(SHOP, Quota("any", 100, 1), 2).may


def test_two_workers_share_one_limit(tmp_path: Path) -> None:
    hammer = (
        f"windows, quota = Windows(counts), Quota('any', 3000, {FOR_EVER})\n"
        "print(sum(windows.use(b'shop', quota, 1).may for _ in range(2500)))"
    )
    with run(hammer, tmp_path) as one, run(hammer, tmp_path) as other:
        used = [int(each.communicate(timeout=WAIT_SECONDS)[0]) for each in (one, other)]
    assert sum(used) == 3000


def test_a_worker_that_is_killed_while_it_counts_stops_no_other(
    tmp_path: Path, counts: lmdb.Environment
) -> None:
    found = Windows(counts)
    for _ in range(5):
        hammer = (
            f"windows, quota = Windows(counts), Quota('any', 10**12, {FOR_EVER})\n"
            "print('begun', flush=True)\n"
            "while True: windows.use(b'shop', quota, 1)"
        )
        with run(hammer, tmp_path) as other:
            assert other.stdout is not None
            assert other.stdout.readline() == "begun\n"
            for _ in range(500):
                assert found.use(SHOP, Quota("any", 10**12, FOR_EVER), 1).may
            other.send_signal(signal.SIGKILL)
    assert found.use(PRESS, ONE, 1).may
    assert not found.use(PRESS, ONE, 1).may


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
    found = Windows(counts, lambda: now)
    for number in range(1000):
        now = number / 10
        name = f"caller {number}".encode()
        assert found.use(name, Quota("any", 1, 1), 1).may
        assert not found.use(name, Quota("any", 1, 1), 1).may
    with counts.begin(counts.open_db(b"windows")) as records:
        assert records.stat(counts.open_db(b"windows"))["entries"] <= 100


def test_as_many_callers_as_may_be_fit_into_the_file(counts: lmdb.Environment) -> None:
    found = Windows(counts)
    for number in range(storage.MOST_RECORDS + 10):
        name = f"{number * 7919 % 65521:05}" + "x" * (storage.LONGEST_KEY - 5)
        assert found.use(name.encode(), Quota("any", 1000, FOR_EVER), 1).may


def test_a_file_that_is_broken_is_made_anew(tmp_path: Path) -> None:
    (tmp_path / "counts").write_bytes(b"nonsense" * 4096)
    with open_counts(tmp_path) as counts:
        assert Windows(counts).use(SHOP, ONE, 1).may


def test_a_folder_that_is_none_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(CountsError, match=r"file/counts, where .* cannot be used"):
        open_counts(tmp_path / "file")
