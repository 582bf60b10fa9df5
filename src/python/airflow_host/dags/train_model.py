"""Trains several models on one table, registers the best, and promotes it if it beats the champion.

What it does is in `airflow_host.training`; this file only says in which order. Airflow parses it
again and again, so whatever takes long to import is imported by the tasks.
"""

import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict
from datetime import timedelta
from types import ModuleType
from typing import Any

import structlog
from airflow.sdk import Param, dag, get_current_context, task
from airflow.sdk.exceptions import AirflowFailException

from airflow_host.training.errors import BadData
from airflow_host.training.plan import CANDIDATES, Challenger, Job, Trained
from airflow_host.training.settings import read_settings
from hostkit import orders

log = structlog.get_logger(__name__)

PARAMS = {
    "model_name": Param(
        None,
        type=["null", "string"],
        maxLength=orders.MOST_OF_MODEL_NAME,
        pattern=orders.MODEL_NAME,
        description="The registered model in MLflow; empty: TRAINING_MODEL_NAME.",
    ),
    "data_uri": Param(
        None,
        type=["null", "string"],
        maxLength=orders.MOST_OF_URI,
        pattern=orders.ONE_LINE,
        description="The table, CSV or Parquet: an absolute path, file://, http(s):// or s3://;"
        " empty: TRAINING_DATA_URI, or else scikit-learn's iris.",
    ),
    "target": Param(
        None,
        type=["null", "string"],
        maxLength=orders.MOST_OF_COLUMN,
        pattern=orders.ONE_LINE,
        description="The column to predict; empty: TRAINING_TARGET.",
    ),
    "margin": Param(
        None,
        type=["null", "number"],
        minimum=0,
        maximum=orders.MOST_OF_MARGIN,
        **orders.NOT_NAN,
        description="By how much the champion must be beaten; empty: TRAINING_MARGIN.",
    ),
    "request_id": Param(
        None,
        type=["null", "string"],
        maxLength=orders.MOST_OF_REQUEST_ID,
        pattern=orders.REQUEST_ID,
        description="The id of the request that asks for it; becomes a tag in MLflow.",
    ),
}


@dag(
    schedule=None,
    # Who asks for a training, in Airflow or by the API, wants it now.
    is_paused_upon_creation=False,
    catchup=False,
    params=PARAMS,
    doc_md=__doc__,
    tags=["tripod"],
    default_args={
        "retries": 2,
        "retry_delay": timedelta(seconds=5),
        "retry_exponential_backoff": True,
        "execution_timeout": timedelta(hours=2),
    },
)
def train_model() -> None:
    """read_table -> train, once for each candidate -> register -> promote."""
    job: Any = read_table()
    trained: Any = train.partial(job=job).expand(candidate=list(CANDIDATES))
    challenger: Any = register(job, trained)
    promote(job, challenger)


@task
def read_table() -> dict[str, Any]:
    """Fetches the table, checks that it can be learned from, and keeps it for the other tasks."""
    with _told():
        steps = _steps()
        context = get_current_context()
        given = {name: context["params"].get(name) for name in PARAMS}
        dag = {"dag_id": context["dag"].dag_id, "dag_run_id": context["run_id"]}
        return asdict(steps.read_table(read_settings(), **dag, **given))


@task(map_index_template="{{ candidate }}")
def train(job: dict[str, Any], candidate: str) -> dict[str, Any]:
    """Trains one candidate and logs it to MLflow."""
    with _told():
        steps = _steps()
        get_current_context()["candidate"] = candidate  # type: ignore[typeddict-unknown-key]
        return asdict(steps.train(read_settings(), Job(**job), candidate))


@task
def register(job: dict[str, Any], trained: list[dict[str, Any]]) -> dict[str, Any]:
    """Makes the best candidate a version of the registered model."""
    with _told():
        steps = _steps()
        candidates = [Trained(**document) for document in trained[:]]  # Asked for all at once.
        return asdict(steps.register(read_settings(), Job(**job), candidates))


# One at a time: two that compared with the same champion could both move the alias.
@task(max_active_tis_per_dag=1)
def promote(job: dict[str, Any], challenger: dict[str, Any]) -> dict[str, Any]:
    """Makes the new version the champion if it is better. Returns the result of the training."""
    with _told():
        steps = _steps()
        registered = Challenger(challenger["version"], Trained(**challenger["trained"]))
        result: dict[str, Any] = steps.promote(read_settings(), Job(**job), registered)
        return result


def _steps() -> ModuleType:
    read_settings()
    with warnings.catch_warnings():
        # skops looks into every module that is loaded, and hundreds of Airflow's warn of that.
        warnings.simplefilter("ignore")
        from airflow_host.training import steps  # noqa: PLC0415
    return steps


@contextmanager
def _told() -> Iterator[None]:
    """Leaves a sentence for who asked for the training; does not try again where data is bad."""
    try:
        yield
    except BadData as error:
        _tell(str(error))
        raise AirflowFailException(str(error)) from None
    except Exception as error:
        reason = str(error).partition("\n")[0] or "no reason given"
        _tell(f"{type(error).__name__}: {reason}; the task's log in Airflow has the details")
        raise


def _tell(problem: str) -> None:
    log.error(problem)
    get_current_context()["ti"].xcom_push("problem", problem)


train_model()
