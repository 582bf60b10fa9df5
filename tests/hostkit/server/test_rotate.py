"""A secret is replaced as a whole, whenever its rotation is cut off, and can be put back."""

import stat
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from hostkit.errors import HostError
from hostkit.files import write_atomically
from hostkit.rotation import SWITCH, Change, Rotation, Server, Step, write
from hostkit.server import rotate
from hostkit.server.layout import Layout

NAME = "TEST_KEY"
UNIT = "test-host.service"


class Killed(BaseException):
    """What ends the program at some point."""


def never() -> None:
    """Nothing is cut off."""


@dataclass
class Folder:
    """A server whose one unit reads its credential when it is started.

    `point`: is called before and after all that is done; it may raise `Killed`.
    `loaded`: what the unit has read.
    """

    layout: Layout
    point: Callable[[], None] = never
    loaded: str = ""
    ran: list[tuple[str, ...]] = field(default_factory=list)

    def write(self, name: str, value: str) -> None:
        self.point()
        write_atomically(self.layout.credentials / name, value, mode=0o600)
        self.point()

    def users(self, name: str) -> tuple[str, ...]:
        return (UNIT,) if (self.layout.credentials / name).exists() else ()

    def restart(self, units: tuple[str, ...]) -> None:
        assert units == (UNIT,)
        self.point()
        self.loaded = self.value
        self.point()

    def is_running(self, unit: str) -> bool:
        return unit == UNIT

    def run(self, *arguments: str) -> None:
        self.point()
        self.ran.append(arguments)
        self.point()

    @property
    def value(self) -> str:
        return (self.layout.credentials / NAME).read_text()


def numbered() -> Iterator[str]:
    number = 0
    while True:
        number += 1
        yield f"value {number}"


def both(server: Server, change: Change) -> None:
    server.write(change.name, f"{change.new},{change.former}")


def encrypt(server: Server, change: Change) -> None:
    assert isinstance(server, Folder)
    assert server.loaded == f"{change.new},{change.former}"  # It reads old values, writes new ones.
    server.run("encrypt")


WAYS = {
    "plain": SWITCH,
    "with an interval in which both are good": (
        Step("both", both),
        SWITCH[1],
        Step("encrypt", encrypt),
        Step("alone", write),
    ),
}


@pytest.fixture
def server(tmp_path: Path) -> Folder:
    layout = Layout("test-host", tmp_path)
    layout.credentials.mkdir(parents=True)
    (layout.credentials / NAME).write_text("value 0")
    return Folder(layout, loaded="value 0")


def turn(server: Folder, rotation: Rotation, given: str | None = None) -> None:
    journal = rotate.begin(server.layout, NAME, rotation, given)
    rotate.carry_out(server.layout, rotation, journal, server, lambda _: None)


def killing(at: int) -> Callable[[], None]:
    """What kills at the n-th point, and only there."""
    seen = 0

    def point() -> None:
        nonlocal seen
        seen += 1
        if seen == at:
            raise Killed

    return point


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("at", range(1, 9))
def test_cut_off_anywhere_it_goes_on_with_the_same_value(server: Folder, way: str, at: int) -> None:
    values = numbered()
    rotation = Rotation("tests", lambda: next(values), WAYS[way])
    server.point = killing(at)
    try:
        turn(server, rotation)
    except Killed:
        assert server.value in ("value 0", "value 1", "value 1,value 0")
        turn(server, rotation)
    assert server.value == "value 1"
    assert server.loaded.startswith("value 1")
    assert [path.name for path in server.layout.credentials.iterdir()] == [NAME]
    server.point = never
    turn(server, rotation)
    assert server.value == "value 2"


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("at", range(1, 9))
def test_cut_off_anywhere_it_can_go_back(server: Folder, way: str, at: int) -> None:
    rotation = Rotation("tests", lambda: "value 1", WAYS[way])
    server.point = killing(at)
    try:
        turn(server, rotation)
    except Killed:
        journal = rotate.back(server.layout, NAME)
        rotate.carry_out(server.layout, rotation, journal, server, lambda _: None)
        assert server.value == "value 0"
        assert server.loaded.startswith("value 0")
    with pytest.raises(HostError, match="nothing to go back to"):
        rotate.back(server.layout, NAME)


def test_a_step_that_fails_stays_the_next_one(server: Folder) -> None:
    def fail() -> None:
        raise HostError("the unit failed")

    rotation = Rotation("tests", lambda: "value 1", (SWITCH[0], Step("fail", lambda *_: fail())))
    with pytest.raises(HostError, match="the unit failed"):
        turn(server, rotation)
    assert server.value == "value 1"
    turn(server, Rotation("tests", lambda: "value 2", (SWITCH[0],)))
    assert server.value == "value 1"


def test_what_is_noted_meanwhile_is_for_root_only_and_no_setting(server: Folder) -> None:
    server.point = killing(1)
    with pytest.raises(Killed):
        turn(server, Rotation("tests", lambda: "value 1"))
    path = rotate.journal_path(server.layout, NAME)
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert path.name.startswith(".")
    assert "value" not in repr(rotate.Journal.read(path))


def test_a_value_that_comes_from_elsewhere_has_to_be_handed_over(server: Folder) -> None:
    rotation = Rotation("tests")
    with pytest.raises(HostError, match="--stdin"):
        turn(server, rotation)
    turn(server, rotation, "handed over")
    assert (server.value, server.loaded) == ("handed over", "handed over")


def test_another_value_is_refused_while_one_is_on_its_way(server: Folder) -> None:
    server.point = killing(1)
    with pytest.raises(Killed):
        turn(server, Rotation("tests"), "handed over")
    with pytest.raises(HostError, match="--back"):
        turn(server, Rotation("tests"), "another")
