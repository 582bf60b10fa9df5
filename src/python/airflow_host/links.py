"""The other servers that this host calls, or whose clients call it; how a doctor examines them."""

from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from typing import TYPE_CHECKING

from airflow_host.environment import CONNECTION, airflow_environment
from airflow_host.settings import AirflowSettings
from hostkit.doctor import airflow, api, database, machine, mlflow
from hostkit.doctor.connection import Target
from hostkit.doctor.steps import STEP_SECONDS, Fault, NothingToCheck, Step, Walk
from hostkit.link import Link
from hostkit.servers import AIRFLOW, API, MLFLOW
from hostkit.settings import Loaded

if TYPE_CHECKING:
    import sqlalchemy as sa

_TRUSTED_BY_MLFLOWS_CLIENT = (
    "MLFLOW_TRACKING_SERVER_CERT_PATH",
    "REQUESTS_CA_BUNDLE",
    "SSL_CERT_FILE",
)
_SHOWN_BY_MLFLOWS_CLIENT = ("MLFLOW_TRACKING_CLIENT_CERT_PATH", "TLS_CERTIFICATE_FILE")


def links_of(settings: AirflowSettings) -> tuple[Link, Link]:
    """MLflow, which training records to, and the API server, which asks for training."""
    return (
        Link(MLFLOW, settings.mlflow_tracking_uri, "MLFLOW_TRACKING_URI"),
        Link(API, settings.api_server_url, "API_SERVER_URL"),
    )


def walks(loaded: Loaded[AirflowSettings]) -> tuple[Walk, ...]:
    """What a doctor examines: this machine, the database, the links, Airflow as others see it."""
    settings = loaded.settings
    to_mlflow, to_api = links_of(settings)
    itself = Link(AIRFLOW, settings.airflow_public_url, "AIRFLOW_PUBLIC_URL")
    return (
        machine.walk(
            machine.Machine(
                loaded,
                ("AIRFLOW__API__PORT",),
                {"AIRFLOW_HOME": settings.airflow_home},
                unit="airflow-host.target",
            )
        ),
        Walk(
            "database",
            loaded.place(CONNECTION),
            (
                Step("schema", partial(_schema, loaded), seconds=3 * STEP_SECONDS),
                Step("user", partial(_user, loaded), seconds=3 * STEP_SECONDS),
                Step("account", partial(_api_user, loaded), seconds=3 * STEP_SECONDS),
            ),
        ),
        mlflow.walk(
            Target(to_mlflow, loaded, _TRUSTED_BY_MLFLOWS_CLIENT, _SHOWN_BY_MLFLOWS_CLIENT),
            _mlflow_account(loaded),
        ),
        api.walk(Target(to_api, loaded)),
        airflow.walk(Target(itself, loaded), _account(loaded)),
    )


def _mlflow_account(loaded: Loaded[AirflowSettings]) -> mlflow.Account:
    return mlflow.Account(
        loaded.settings.mlflow_tracking_username,
        loaded.settings.mlflow_tracking_password,
        loaded.place("MLFLOW_TRACKING_PASSWORD"),
        "mlflow-host users add-service airflow",
    )


def _account(loaded: Loaded[AirflowSettings]) -> airflow.Account:
    return airflow.Account(
        loaded.settings.airflow_username,
        loaded.settings.airflow_password.get_secret_value(),
        loaded.place("AIRFLOW_USERNAME"),
        loaded.place("AIRFLOW_PASSWORD"),
    )


def _schema(loaded: Loaded[AirflowSettings]) -> str:
    """Whether the database answers, and has the schema that this release needs."""
    from airflow_host.schema import State, state  # noqa: PLC0415 (half a second)

    with _database(loaded) as engine:
        match state(engine):
            case State.OLDER:
                raise database.older("airflow-host")
            case State.NEWER:
                raise database.newer("airflow-host")
            case State.EMPTY:
                raise NothingToCheck("empty: the api-server makes the schema when it starts")
    return "as this release needs it"


def _user(loaded: Loaded[AirflowSettings]) -> str:
    """Whether the user is in the database as the settings say."""
    from airflow_host import user  # noqa: PLC0415

    account, *_ = user.accounts(loaded.settings)
    with _database(loaded) as engine:
        problem = user.problem(account, engine)
    if problem is None:
        return f"{account.username} is active, has the password and is an Admin"
    raise _other_account(problem, loaded, "AIRFLOW_USERNAME", "AIRFLOW_PASSWORD")


def _api_user(loaded: Loaded[AirflowSettings]) -> str:
    """Whether the API server's account is as the settings say, and is used."""
    from airflow_host import user  # noqa: PLC0415

    account = next((a for a in user.accounts(loaded.settings) if a.role == user.TRAINER), None)
    if account is None:
        raise NothingToCheck(f"there is none: {loaded.place('AIRFLOW_API_PASSWORD')}")
    with _database(loaded) as engine:
        problem = user.problem(account, engine)
        used = user.logins(account.username, engine)
    if problem is not None:
        raise _other_account(problem, loaded, "AIRFLOW_API_USERNAME", "AIRFLOW_API_PASSWORD")
    if not used:
        raise NothingToCheck(user.unused(account.username))
    return f"{account.username} may start and read trainings, nothing else"


def _other_account(
    problem: str, loaded: Loaded[AirflowSettings], username: str, password: str
) -> Fault:
    return Fault(
        problem,
        "The settings were changed since the api-server started, or somebody changed the user.",
        "'systemctl restart airflow-host-api-server' makes the user as"
        f" {loaded.place(username)} and {loaded.place(password)} say; if it is somebody else's,"
        " choose another name there.",
    )


@contextmanager
def _database(loaded: Loaded[AirflowSettings]) -> "Iterator[sa.Engine]":
    import sqlalchemy as sa  # noqa: PLC0415 (half a second)

    from airflow_host.migrate import database_engine  # noqa: PLC0415

    environment = airflow_environment(loaded.settings, loaded.environment(), {}, json_logs=False)
    url = environment.get(CONNECTION, "")
    database.refuse_missing_file(url)
    try:
        with database_engine(environment) as engine:
            yield engine
    except sa.exc.SQLAlchemyError as error:
        raise database.unusable(url, error, loaded.place(CONNECTION)) from None
