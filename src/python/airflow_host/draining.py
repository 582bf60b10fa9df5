"""Lets the tasks that run come to their end while no other starts: then a restart loses none.

The token with which a task speaks to the api-server is signed with a key of the scheduler's; with
another key the api-server refuses it, and Airflow ends the task. So before that key is changed
nothing may run. Pausing DAGs would stop nothing that is under way, and a scheduler that is told to
end is killed after a time, with its tasks.

Who wants that touches a file, again and again: the scheduler starts no task while the file is
young. So nothing stays shut if whoever asked for it dies.
"""

import functools
import time
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from hostkit.errors import HostError

if TYPE_CHECKING:
    import sqlalchemy as sa

LEASE_SECONDS = 60.0
SECONDS_BETWEEN_LOOKS = 0.5
SECONDS_BETWEEN_LINES = 10.0
SECONDS_TO_BE_HEARD = 90.0
"""For a scheduler with nothing to do that does not notice the file."""

SECONDS_TO_END = 2.5 * 60 * 60
"""Somewhat longer than the longest task of `train_model`."""

Tell = Callable[[str], None]


def _asked(home: Path) -> Path:
    return home / "draining"


def _heard(home: Path) -> Path:
    return home / "draining.heard"


def is_asked_for(home: Path) -> bool:
    """Whether no task may start at the moment."""
    try:
        return abs(time.time() - _asked(home).stat().st_mtime) < LEASE_SECONDS
    except FileNotFoundError:
        return False


def end(home: Path) -> None:
    """Lets tasks start again."""
    for path in (_asked(home), _heard(home)):
        path.unlink(missing_ok=True)


def heed(home: Path) -> None:
    """Makes this process, which is about to become the scheduler, look for the file."""
    from airflow.jobs.scheduler_job_runner import SchedulerJobRunner  # noqa: PLC0415 (slow)

    enqueue: Any = SchedulerJobRunner._critical_section_enqueue_task_instances  # noqa: SLF001

    @functools.wraps(enqueue)
    def enqueue_unless_draining(self: SchedulerJobRunner, **options: Any) -> int:
        if is_asked_for(home):
            _heard(home).touch()
            return 0
        count: int = enqueue(self, **options)
        return count

    setattr(SchedulerJobRunner, enqueue.__name__, enqueue_unless_draining)
    end(home)  # Whoever asked for it did so to have the scheduler start anew.


def drain(home: Path, engine: "sa.Engine", tell: Tell, seconds: float = SECONDS_TO_END) -> None:
    """Returns when nothing runs. For some seconds more nothing starts: time to stop the scheduler.

    Raises `HostError` if that takes too long; then tasks start again.
    """
    _heard(home).unlink(missing_ok=True)
    try:
        _wait_until_nothing_runs(home, engine, tell, seconds)
    except BaseException:
        end(home)
        raise


def _wait_until_nothing_runs(home: Path, engine: "sa.Engine", tell: Tell, seconds: float) -> None:
    begin = next_line = time.monotonic()
    while True:
        _asked(home).touch()
        # In this order: what the scheduler started before it heard is in the database.
        heard, count = _heard(home).exists(), running(engine)
        if heard and not count:
            return
        now = time.monotonic()
        if now - begin > (seconds if count else SECONDS_TO_BE_HEARD):
            raise HostError(_too_long(count, now - begin))
        if count and now >= next_line:
            tell(f"{count} tasks run; no other starts until they have ended")
            next_line = now + SECONDS_BETWEEN_LINES
        time.sleep(SECONDS_BETWEEN_LOOKS)


def running(engine: "sa.Engine") -> int:
    """How many tasks run or are about to."""
    import sqlalchemy as sa  # noqa: PLC0415 (half a second)

    tasks = sa.table("task_instance", sa.column("state", sa.String))
    busy = tasks.c.state.in_(("queued", "running", "restarting"))
    query = sa.select(sa.func.count()).select_from(tasks).where(busy)
    with engine.connect() as connection:
        return connection.scalar(query) or 0


def _too_long(count: int, seconds: float) -> str:
    if count:
        return f"{count} tasks still run after {seconds:.0f} s: wait for their end, or stop them"
    return (
        f"the scheduler did not notice within {seconds:.0f} s that it should start no task:"
        " 'systemctl restart airflow-host-scheduler'"
    )
