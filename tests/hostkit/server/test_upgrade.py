"""Whatever fails or is cut off on the way, one release is there whole, with its database."""

from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hostkit.errors import HostError
from hostkit.server.upgrade import Journal, change_release, go_back


class PowerCut(BaseException):
    """The machine is off: no code runs any more."""


@dataclass
class SimulatedServer:
    """A server whose steps each may be cut off before, in the middle or after, or fail.

    `cuts`: how many moments pass until the next power cut, again and again.
    `failing`: the steps of the new release that fail.
    """

    cuts: Iterator[int | None]
    failing: frozenset[str] = frozenset()
    running: str | None = "old"
    release: str = "old"
    units: str = "old"
    database: str = "old, 5 rows"
    backups: dict[str, str] = field(default_factory=dict)
    moments_left: int | None = None

    def boot(self) -> None:
        """Begins again, until the next power cut."""
        self.moments_left = next(self.cuts, None)

    def moment(self) -> None:
        """Something could be cut off here."""
        if self.moments_left is not None:
            if self.moments_left == 0:
                self.running = None
                raise PowerCut
            self.moments_left -= 1

    def fail(self, step: str) -> None:
        if step in self.failing:
            raise HostError(f"{step} does not work")

    def stop(self, units: tuple[str, ...]) -> None:
        self.moment()
        if units:
            self.running = None
        self.moment()

    def back_up(self, old: str, new: str) -> str:  # noqa: ARG002
        assert self.running is None
        self.fail("back_up")
        self.moment()
        self.backups[name := f"backup {len(self.backups)}"] = self.database
        self.moment()
        return name

    def change_database(self, _: str | None) -> bool:
        self.moment()
        self.database = "broken"
        self.moment()
        self.fail("migrate")
        self.database = "new, 5 rows"
        self.moment()
        return True

    def restore(self, backup: str) -> None:
        assert self.running is None
        self.moment()
        self.database = self.backups[backup]
        self.moment()

    def switch(self, release: str, journal: Journal) -> None:  # noqa: ARG002
        self.moment()
        self.units = "half"
        self.moment()
        if release == "new":
            self.fail("switch")
        self.units = release
        self.moment()
        self.release = release
        self.moment()

    def start(self, units: tuple[str, ...]) -> None:
        self.moment()
        if units:
            self.running = self.release
        self.moment()

    def wait_until_ready(self, units: tuple[str, ...]) -> None:
        self.moment()
        if not units:
            return
        assert self.running == self.release
        if self.running == "new":
            self.fail("start")
        if not self.database.startswith(self.running):
            raise HostError("the database is another release's")

    @property
    def is_consistent(self) -> bool:
        """Whether one release is there whole, with the database that it had."""
        return (self.release, self.units, self.database) in {
            ("old", "old", "old, 5 rows"),
            ("new", "new", "new, 5 rows"),
        }


def upgrade(server: SimulatedServer, path: Path, running: tuple[str, ...]) -> None:
    journal = Journal("old", "new", running, (), ())
    change_release(server, path, journal, server.change_database, lambda _: server.moment())


def recover(server: SimulatedServer, path: Path) -> None:
    """Boots again and again, until no power cut comes any more."""
    while (journal := Journal.read(path)) is not None:
        server.boot()
        try:
            go_back(server, path, journal, wait=False)
        except PowerCut:
            continue


STEPS = st.frozensets(st.sampled_from(["back_up", "migrate", "switch", "start"]), max_size=2)


@given(
    cuts=st.lists(st.integers(0, 25), max_size=4),
    failing=STEPS,
    running=st.sampled_from([(), ("kettle.service",)]),
)
def test_what_is_cut_off_or_fails_goes_back_whole(
    tmp_path_factory: pytest.TempPathFactory,
    cuts: list[int],
    failing: frozenset[str],
    running: tuple[str, ...],
) -> None:
    path = tmp_path_factory.mktemp("server") / "upgrade.json"
    server = SimulatedServer(iter(cuts), failing, running="old" if running else None)
    server.boot()
    try:
        upgrade(server, path, running)
    except PowerCut:
        recover(server, path)
        assert server.running in (None, server.release)
    except HostError:
        assert server.release == "old"
        assert (server.running == "old") is bool(running)
    else:
        assert server.release == "new"
        assert not failing - ({"start"} if not running else set())
    assert server.is_consistent
    assert not path.exists()


@pytest.mark.parametrize("step", ["back_up", "migrate", "switch", "start"])
def test_each_step_that_fails_leads_back(tmp_path: Path, step: str) -> None:
    server = SimulatedServer(iter([]), frozenset({step}))
    with pytest.raises(HostError, match=f"{step} does not work\nso this server went back"):
        upgrade(server, tmp_path / "upgrade.json", ("kettle.service",))
    assert server.is_consistent
    assert server.running == "old"


def test_a_database_that_was_not_changed_is_not_restored(tmp_path: Path) -> None:
    server = SimulatedServer(iter([]), frozenset({"start"}), database="old and new, 5 rows")

    def change(_: str | None) -> bool:
        server.database += " and 1 more"  # Which the new release wrote, and the old one can read.
        return False

    journal = Journal("old", "new", ("kettle.service",), (), ())
    with pytest.raises(HostError, match="went back"):
        change_release(server, tmp_path / "journal", journal, change, lambda _: None)
    assert server.database == "old and new, 5 rows and 1 more"


def test_a_way_back_that_fails_keeps_the_journal_and_says_what_to_do(tmp_path: Path) -> None:
    class NoWayBack(SimulatedServer):
        def restore(self, backup: str) -> None:  # noqa: ARG002
            raise HostError("the disk is full")

    server = NoWayBack(iter([]), frozenset({"migrate"}))
    path = tmp_path / "upgrade.json"
    with pytest.raises(HostError, match=r"the disk is full\nmend that, then run .*--unfinished"):
        upgrade(server, path, ("kettle.service",))
    journal = Journal.read(path)
    assert journal == Journal("old", "new", ("kettle.service",), (), (), "changing", "backup 0")


def test_ctrl_c_goes_back_and_stays_ctrl_c(tmp_path: Path) -> None:
    server = SimulatedServer(iter([]))

    def interrupt(_: str | None) -> bool:
        raise KeyboardInterrupt

    journal = Journal("old", "new", ("kettle.service",), (), ())
    with pytest.raises(KeyboardInterrupt):
        change_release(server, tmp_path / "journal", journal, interrupt, lambda _: None)
    assert server.is_consistent
    assert server.running == "old"


@pytest.mark.parametrize("text", ["", "{", "[]", '{"old": 1}'])
def test_a_journal_that_cannot_be_read_is_told(tmp_path: Path, text: str) -> None:
    (tmp_path / "upgrade.json").write_text(text)
    with pytest.raises(HostError, match="cannot be read, so it is not known what to go back to"):
        Journal.read(tmp_path / "upgrade.json")
