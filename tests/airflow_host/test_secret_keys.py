import base64
import stat
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from airflow_host.secret_keys import make_keys
from hostkit.errors import HostError


def keys(home: Path) -> dict[str, str]:
    return {name: file.read_text() for name, file in make_keys(home).items()}


def test_only_the_host_can_read_them(tmp_path: Path) -> None:
    home = tmp_path / "home"
    for file in make_keys(home).values():
        assert stat.S_IMODE(file.stat().st_mode) == 0o600
        assert stat.S_IMODE(file.parent.stat().st_mode) == 0o700
    assert stat.S_IMODE(home.stat().st_mode) == 0o700


def test_they_stay_the_same(tmp_path: Path) -> None:
    assert keys(tmp_path) == keys(tmp_path)


def test_each_home_has_its_own(tmp_path: Path) -> None:
    assert not set(keys(tmp_path / "one").values()) & set(keys(tmp_path / "other").values())


def test_all_who_start_at_once_get_the_same(tmp_path: Path) -> None:
    with ThreadPoolExecutor(16) as pool:
        first, *others = pool.map(keys, [tmp_path / "home"] * 16)
    assert all(other == first for other in others)


def test_the_fernet_key_has_the_length_of_one(tmp_path: Path) -> None:
    key = keys(tmp_path)["AIRFLOW__CORE__FERNET_KEY"]
    assert len(base64.urlsafe_b64decode(key)) == 32


def test_a_home_that_cannot_be_made_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(HostError, match="AIRFLOW_HOME must be a folder"):
        make_keys(tmp_path / "file" / "home")
