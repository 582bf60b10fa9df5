import os
import time
from pathlib import Path

from airflow_host.settings import ComponentSettings
from airflow_host.task_logs import SECONDS_OF_A_DAY, clean, folder
from hostkit.settings import load
from tests.airflow_host.test_environment import GIVEN


def written(path: Path, days: float) -> Path:
    """A file that was written so many days ago, in a folder of the same age."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("a line\n")
    moment = time.time() - days * SECONDS_OF_A_DAY
    os.utime(path, (moment, moment))
    os.utime(path.parent, (moment, moment))
    return path


def test_old_logs_go_and_others_stay(tmp_path: Path) -> None:
    old = written(tmp_path / "dag_id=one" / "old.log", 31)
    new = written(tmp_path / "dag_id=two" / "new.log", 29)
    assert clean(tmp_path, 30) == 1
    assert not old.exists()
    assert new.exists()
    assert clean(tmp_path, 30) == 0


def test_there_may_be_no_logs_yet(tmp_path: Path) -> None:
    assert clean(tmp_path / "none", 30) == 0


def test_they_are_where_airflow_is_told_to_write_them() -> None:
    loaded = load(ComponentSettings, environment=GIVEN)
    assert folder(loaded) == Path("/srv/airflow/logs")
    elsewhere = GIVEN | {"AIRFLOW__LOGGING__BASE_LOG_FOLDER": "/srv/logs"}
    assert folder(load(ComponentSettings, environment=elsewhere)) == Path("/srv/logs")
