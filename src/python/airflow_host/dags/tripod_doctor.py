"""Does nothing: `doctor` has it run to see that Airflow starts tasks, and deletes the run."""

from datetime import timedelta

from airflow.sdk import dag, task


@dag(
    schedule=None,
    is_paused_upon_creation=False,
    catchup=False,
    doc_md=__doc__,
    tags=["tripod", "doctor"],
    default_args={"execution_timeout": timedelta(seconds=30)},
)
def tripod_doctor() -> None:
    """One task, which goes the way of all tasks: scheduler, worker, api-server."""
    do_nothing()


# Of the tasks that wait, it goes first: somebody waits for it.
@task(priority_weight=1000)
def do_nothing() -> None:
    """Ends well."""


tripod_doctor()
