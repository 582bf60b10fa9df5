import os
import time
from pathlib import Path

import pytest

from airflow_host.training import snapshot, source
from airflow_host.training.errors import BadData
from tests.airflow_host.training.limits import limits


def test_what_was_kept_is_recalled_though_the_source_has_changed(tmp_path: Path) -> None:
    fingerprint = snapshot.keep(tmp_path / "tables", b"old")

    assert _recall(tmp_path, fingerprint, b"new") == b"old"


def test_what_is_gone_is_read_again(tmp_path: Path) -> None:
    fingerprint = snapshot.keep(tmp_path / "tables", b"same")
    snapshot.forget(tmp_path / "tables", fingerprint)
    snapshot.forget(tmp_path / "tables", fingerprint)

    assert not list((tmp_path / "tables").iterdir())
    assert _recall(tmp_path, fingerprint, b"same") == b"same"


def test_another_table_is_not_taken_for_it(tmp_path: Path) -> None:
    with pytest.raises(BadData, match="source has changed since the training began"):
        _recall(tmp_path, source.fingerprint(b"old"), b"new")


def test_only_the_host_reads_what_is_kept(tmp_path: Path) -> None:
    fingerprint = snapshot.keep(tmp_path / "tables", b"private")

    assert (tmp_path / "tables").stat().st_mode & 0o777 == 0o700
    assert (tmp_path / "tables" / fingerprint).stat().st_mode & 0o777 == 0o600


def test_what_failed_trainings_left_is_removed_after_a_week(tmp_path: Path) -> None:
    old, young = (snapshot.keep(tmp_path, content) for content in (b"old", b"young"))
    then = time.time() - snapshot.KEEP_SECONDS - 1
    os.utime(tmp_path / old, (then, then))

    new = snapshot.keep(tmp_path, b"new")

    assert {path.name for path in tmp_path.iterdir()} == {young, new}


def _recall(folder: Path, fingerprint: str, now: bytes) -> bytes:
    (folder / "source").write_bytes(now)
    settings = limits(TRAINING_DATA_FOLDERS=str(folder))
    return snapshot.recall(
        folder / "tables", fingerprint, uri=f"{folder}/source", settings=settings
    )
