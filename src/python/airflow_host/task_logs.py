"""The logs of tasks, which Airflow writes and never removes."""

import os
import time
from pathlib import Path

from airflow_host.settings import ComponentSettings
from hostkit.settings import Loaded

SECONDS_OF_A_DAY = 24 * 60 * 60

_VARIABLE = "AIRFLOW__LOGGING__BASE_LOG_FOLDER"


def folder(loaded: Loaded[ComponentSettings]) -> Path:
    """Where Airflow writes them."""
    return (
        default_folder(loaded.settings)
        if _VARIABLE not in loaded.values
        else Path(loaded.values[_VARIABLE].text)
    )


def default_folder(settings: ComponentSettings) -> Path:
    """Where Airflow writes them unless the operator wants another folder."""
    return settings.airflow_home / "logs"


def clean(root: Path, days: int) -> int:
    """Removes what is older, and folders that are empty then. Returns how many files that were."""
    oldest = time.time() - days * SECONDS_OF_A_DAY
    removed = 0
    for place, _, names in os.walk(root, topdown=False):
        for path in (Path(place, name) for name in names):
            if path.lstat().st_mtime < oldest:
                path.unlink()
                removed += 1
        _remove_if_empty(Path(place), root, oldest)
    return removed


def _remove_if_empty(place: Path, root: Path, oldest: float) -> None:
    # A folder that a task has just made is empty for a moment.
    if place != root and place.stat().st_mtime < oldest and not any(place.iterdir()):
        place.rmdir()
