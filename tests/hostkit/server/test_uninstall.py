"""What is removed of a host, and what stays."""

from pathlib import Path
from typing import ClassVar

import pytest

from hostkit.definition import Contents, Definition, Entrance
from hostkit.server import uninstall
from hostkit.server.layout import Layout
from hostkit.settings import Loaded, Settings

TMPFILES = """\
# Releases.
d /opt/kettle-host 0755 root root -
d /etc/kettle-host/credentials 0700 root root -
d /srv/tea 0755 root root -
d /srv/tea/green 0755 root root -
z /etc/kettle-host/keys.json 0640 root kettle-host -
"""


class KettleSettings(Settings):
    host_name: ClassVar[str] = "kettle-host"


def _entrance(_: Loaded[KettleSettings]) -> Entrance:
    raise NotImplementedError


@pytest.fixture
def definition(tmp_path: Path) -> Definition:
    """A host whose install makes folders for what others bring."""
    units = tmp_path / "units"
    (units / "kettle-host").mkdir(parents=True)
    (units / "hardening.conf").touch()
    (units / "kettle-host/sysusers.conf").touch()
    (units / "kettle-host/tmpfiles.conf").write_text(TMPFILES)
    return Definition(
        settings=KettleSettings,
        distributions=(),
        unit="kettle-host.service",
        contents=lambda _: Contents(),
        entrance=_entrance,
        unit_files=lambda: units,
    )


@pytest.fixture
def layout(tmp_path: Path) -> Layout:
    """A server on which the host was."""
    root = tmp_path / "root"
    for folder in ("etc/kettle-host", "var/lib/kettle-host", "run/kettle-host", "srv/tea/green"):
        (root / folder).mkdir(parents=True)
    return Layout("kettle-host", root)


def take_off(definition: Definition, layout: Layout, *, purge: bool) -> list[str]:
    """Takes the host off; gives what is kept."""
    elsewhere = uninstall.folders_elsewhere(definition, layout)
    for step in uninstall.removable(layout, purge=purge, elsewhere=elsewhere):
        step.act()
    kept = uninstall.kept(layout, elsewhere)
    return [str(folder.relative_to(layout.root)) for folder in kept]


def left(layout: Layout) -> list[str]:
    return sorted(str(path.relative_to(layout.root)) for path in layout.root.rglob("*"))


def test_without_purge_all_that_is_kept_is_told(definition: Definition, layout: Layout) -> None:
    before = left(layout)
    assert take_off(definition, layout, purge=False) == [
        "etc/kettle-host",
        "var/lib/kettle-host",
        "srv/tea",
        "srv/tea/green",
    ]
    assert left(layout) == before


def test_a_purge_removes_the_empty_folders_that_install_made(
    definition: Definition, layout: Layout
) -> None:
    assert take_off(definition, layout, purge=True) == []
    assert left(layout) == ["etc", "run", "srv", "var", "var/lib"]


def test_a_purge_keeps_what_others_brought(definition: Definition, layout: Layout) -> None:
    (layout.root / "srv/tea/oolong").touch()
    assert take_off(definition, layout, purge=True) == ["srv/tea"]
    assert left(layout) == ["etc", "run", "srv", "srv/tea", "srv/tea/oolong", "var", "var/lib"]


def test_a_purge_keeps_a_link_in_place_of_a_folder(definition: Definition, layout: Layout) -> None:
    green = layout.root / "srv/tea/green"
    green.rename(layout.root / "elsewhere")
    green.symlink_to(layout.root / "elsewhere")
    assert take_off(definition, layout, purge=True) == ["srv/tea", "srv/tea/green"]
    assert (layout.root / "elsewhere").is_dir()
