"""A process of Airflow: its own command line, after five things that it has no setting for."""

import atexit
import functools
import gc
import importlib
import os
import sys
import warnings
from contextlib import suppress
from pathlib import Path
from typing import Any

from airflow.__main__ import main as airflow
from airflow.sdk.execution_time.supervisor import WatchedSubprocess
from airflow.utils.deprecation_tools import DeprecatedImportWarning

from airflow_host import draining
from airflow_host.components import Component
from airflow_host.environment import MLFLOW_PASSWORD
from hostkit.settings import CREDENTIALS_DIRECTORY

SECONDS_UNTIL_A_CLOSED_CHILD_HAS_ENDED = 0.05

IMPORTED_BY_TASKS = (
    "airflow.providers.standard.operators.python",
    "airflow.sdk.execution_time.task_runner",
    "mlflow.sklearn",
    "pandas",
    "sklearn.ensemble",
    "sklearn.linear_model",
    "sklearn.pipeline",
    "skops.io",
)


def main() -> None:
    """Becomes the component that the first argument names."""
    notice_the_end_of_children()
    take_mlflows_password()
    # At its end Python looks for garbage in all that was imported: for an api-server, seconds.
    atexit.register(gc.freeze)
    if sys.argv[1] == Component.API_SERVER:
        limit_connections()
    if sys.argv[1] == Component.SCHEDULER:
        import_for_tasks()
        draining.heed(Path(os.environ["AIRFLOW_HOME"]))
    airflow()  # type: ignore[no-untyped-call]


def take_mlflows_password() -> None:
    """Lets tasks, which are forks, see the credential in their environment.

    Not from the start: what a process was started with is in `/proc`.
    """
    file = Path(os.environ.get(CREDENTIALS_DIRECTORY, "/nowhere")) / MLFLOW_PASSWORD
    with suppress(FileNotFoundError):
        if password := file.read_text(encoding="utf-8").strip():
            os.environ[MLFLOW_PASSWORD] = password


def import_for_tasks() -> None:
    """Imports what training needs before the scheduler forks.

    Each task is a fork of a fork of the scheduler and shares what was imported before. To import
    it takes longer than to train on a small table, and each task would do so again.
    """
    with warnings.catch_warnings():
        # skops looks for names in every module, Airflow's old ones too: a thousand warnings.
        warnings.simplefilter("ignore", DeprecatedImportWarning)
        for module in IMPORTED_BY_TASKS:
            importlib.import_module(module)


def limit_connections() -> None:
    """Has uvicorn read requests as `Http1` does, in further processes of its own too."""
    import uvicorn  # noqa: PLC0415 (the others need none)

    from airflow_host.http1 import MOST_OF_HEADERS, Http1  # noqa: PLC0415

    uvicorn.run = functools.partial(
        uvicorn.run,
        http=f"{Http1.__module__}:{Http1.__name__}",
        h11_max_incomplete_event_size=MOST_OF_HEADERS,
    )


def notice_the_end_of_children() -> None:
    """Lets Airflow see soon that a child process ended.

    A supervisor waits on its child's sockets, and then looks whether the child has ended. But a
    child closes them a moment before it ends: that look comes too early, and the next one only
    when the whole waiting time is up. That is 5 s for a task, which blocks its worker meanwhile,
    and 10 s whenever a triggerer stops.
    """
    service: Any = WatchedSubprocess._service_subprocess  # noqa: SLF001

    @functools.wraps(service)
    def service_soon(self: WatchedSubprocess, max_wait_time: float, **options: Any) -> Any:
        if not self.selector.get_map():
            max_wait_time = min(max_wait_time, SECONDS_UNTIL_A_CLOSED_CHILD_HAS_ENDED)
        return service(self, max_wait_time, **options)

    setattr(WatchedSubprocess, service.__name__, service_soon)


if __name__ == "__main__":
    main()
