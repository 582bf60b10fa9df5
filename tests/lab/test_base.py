"""The base: one root file system for each set of packages."""

from pathlib import Path

from lab import base


def test_the_order_of_packages_makes_no_other_base() -> None:
    assert base.name() == "bookworm"
    assert base.name(["nginx-light", "caddy", "caddy"]) == "bookworm+caddy+nginx-light"
    assert base.name(["caddy", "nginx-light"]) == base.name(["nginx-light", "caddy"])


def test_a_base_that_is_in_the_cache_is_used_as_it_is(tmp_path: Path) -> None:
    folder = tmp_path / "bookworm+caddy"
    assert not base.is_made(["caddy"], tmp_path)
    folder.mkdir()
    assert base.is_made(["caddy"], tmp_path)
    assert base.find_or_make(["caddy"], tmp_path) == folder
