import json
from pathlib import Path

import pytest

from hostkit.errors import HostError
from hostkit.server import releases
from hostkit.server.layout import Layout
from hostkit.server.releases import Release


@pytest.fixture
def layout(tmp_path: Path) -> Layout:
    layout = Layout("kettle-host", tmp_path)
    layout.releases.mkdir(parents=True)
    return layout


def add(layout: Layout, name: str, *, day: int | None, previous: str | None = None) -> Release:
    folder = layout.releases / name
    folder.mkdir()
    at = None if day is None else f"2026-01-{day:02}T00:00:00Z"
    document = {"version": "1", "revision": None, "sha256": name, "installed_at": at}
    (folder / "release.json").write_text(json.dumps({**document, "previous": previous}))
    return releases.find(layout, name)


def names(layout: Layout) -> list[str]:
    return [release.name for release in releases.all_releases(layout)]


def test_the_link_is_switched_and_tells_which_one_runs(layout: Layout) -> None:
    assert releases.current(layout) is None
    for name in ("one", "two"):
        releases.switch(layout, add(layout, name, day=1))
        assert layout.current.readlink() == Path("releases") / name
        found = releases.current(layout)
        assert found is not None
        assert found.name == name


def test_what_is_half_is_no_release(layout: Layout) -> None:
    add(layout, "one", day=1)
    (layout.releases / ".two.partial").mkdir()
    (layout.releases / "three").mkdir()
    (layout.releases / "four").mkdir()
    (layout.releases / "four/release.json").write_text("{")
    assert names(layout) == ["one"]


def test_a_release_is_found_by_the_beginning_of_its_name(layout: Layout) -> None:
    for name in ("aa1", "aa2", "bb1"):
        add(layout, name, day=1)
    assert releases.find(layout, "b").name == "bb1"
    for name in ("a", "c", ""):
        with pytest.raises(HostError, match=f"there is no release '{name}' in .*: aa1"):
            releases.find(layout, name)


def test_pruning_keeps_three_and_what_a_rollback_needs(layout: Layout) -> None:
    for day in range(1, 7):
        add(layout, f"day{day}", day=day)
    add(layout, "failed", day=None)
    (layout.releases / ".half.partial").mkdir()
    releases.switch(layout, add(layout, "day7", day=7, previous="day1"))
    assert [release.name for release in releases.prune(layout)] == [
        "failed",
        "day2",
        "day3",
        "day4",
    ]
    assert names(layout) == ["day1", "day5", "day6", "day7"]
    assert not list(layout.releases.glob(".*"))


def test_a_release_remembers_what_it_took_the_place_of(layout: Layout) -> None:
    releases.record(add(layout, "two", day=None), previous="one", backup="/var/backups/x")
    found = releases.find(layout, "two")
    assert (found.previous, found.backup) == ("one", "/var/backups/x")
    assert found.installed_at is not None
