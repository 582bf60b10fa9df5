from pathlib import Path
from typing import ClassVar

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hostkit.definition import Contents, Definition, Entrance
from hostkit.errors import HostError
from hostkit.server.tree import OwnedFile, differences, read_tree, tree_of, write_tree
from hostkit.settings import Loaded, Settings

UNITS = "usr/local/lib/systemd/system"


class KettleSettings(Settings):
    host_name: ClassVar[str] = "kettle-host"


def _entrance(_: Loaded[KettleSettings]) -> Entrance:
    raise NotImplementedError


def kettle(folder: Path) -> Definition:
    return Definition(
        settings=KettleSettings,
        distributions=(),
        unit="kettle-host.service",
        contents=lambda _: Contents(),
        entrance=_entrance,
        unit_files=lambda: folder,
    )


def test_each_packed_file_has_its_place(tmp_path: Path) -> None:
    (tmp_path / "hardening.conf").write_text("hard")
    (tmp_path / "kettle-host").mkdir()
    for name in (
        "kettle-host.service",
        "kettle-host@.service",
        "kettle-host.timer",
        "kettle-host.socket",
        "kettle-host.target",
        "env",
        "generator",
        "sysusers.conf",
        "tmpfiles.conf",
    ):
        (tmp_path / "kettle-host" / name).write_text(name)
    files = tree_of(kettle(tmp_path))
    assert {name: file.mode for name, file in files.items()} == {
        "usr/local/bin/kettle-host": 0o755,
        "usr/local/lib/systemd/system-generators/kettle-host-generator": 0o755,
        f"{UNITS}/kettle-host.service": 0o644,
        f"{UNITS}/kettle-host.service.d/10-hardening.conf": 0o644,
        f"{UNITS}/kettle-host.socket": 0o644,
        f"{UNITS}/kettle-host.target": 0o644,
        f"{UNITS}/kettle-host.timer": 0o644,
        f"{UNITS}/kettle-host@.service": 0o644,
        f"{UNITS}/kettle-host@.service.d/10-hardening.conf": 0o644,
        "usr/local/lib/sysusers.d/kettle-host.conf": 0o644,
        "usr/local/lib/tmpfiles.d/kettle-host.conf": 0o644,
    }
    assert files[f"{UNITS}/kettle-host.service.d/10-hardening.conf"].content == b"hard"
    command = files["usr/local/bin/kettle-host"].content
    assert command == b'#!/bin/sh\nexec /opt/kettle-host/current/venv/pex "$@"\n'


def test_a_build_without_unit_files_says_so(tmp_path: Path) -> None:
    with pytest.raises(HostError, match="this build has no unit files of kettle-host"):
        tree_of(kettle(tmp_path))


FILES = st.dictionaries(
    st.sampled_from([f"{UNITS}/{name}" for name in ("a", "b", "a.d/c", "d.d/e")]),
    st.builds(OwnedFile, st.binary(max_size=3), st.sampled_from([0o644, 0o755])),
)


@given(old=FILES, new=FILES)
def test_settling_the_differences_replaces_one_release_by_another(
    tmp_path_factory: pytest.TempPathFactory, old: dict[str, OwnedFile], new: dict[str, OwnedFile]
) -> None:
    root = tmp_path_factory.mktemp("root")
    operators = {f"{UNITS}/a.d/mine": OwnedFile(b"mine")}
    write_tree(root, {**old, **operators})
    for difference in differences(root, new, [old]):
        difference.settle()
    assert read_tree(root) == {**new, **operators}
    assert not list(differences(root, new, [old]))
    for difference in differences(root, {}, [new]):
        difference.settle()
    assert read_tree(root) == operators
    assert not (root / UNITS / "d.d").exists()


def test_a_link_in_the_place_of_a_file_is_replaced_not_followed(tmp_path: Path) -> None:
    (tmp_path / "elsewhere").write_text("a")
    (tmp_path / "unit").symlink_to("elsewhere")
    for difference in differences(tmp_path, {"unit": OwnedFile(b"a")}, []):
        difference.settle()
    assert not (tmp_path / "unit").is_symlink()
    assert (tmp_path / "elsewhere").read_text() == "a"
