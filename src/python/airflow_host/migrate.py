"""Makes or upgrades Airflow's database and its accounts: again and again, or several at once."""

import fcntl
import shlex
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

import sqlalchemy as sa
import structlog

from airflow_host import schema, user
from airflow_host.environment import CONNECTION
from airflow_host.schema import State
from airflow_host.settings import AirflowSettings
from hostkit.errors import HostError

COMMAND = "airflow_host.pex migrate"
SECONDS_TO_WAIT_FOR_A_DATABASE = 240.0
SECONDS_BETWEEN_LOOKS = 0.5

log = structlog.stdlib.get_logger(__name__)


class DatabaseError(HostError):
    """The database cannot be used as it is."""


def migrate(settings: AirflowSettings, environment: Mapping[str, str], *, upgrade: bool) -> bool:
    """Makes database, roles and accounts where they are missing or wrong; whether anything was.

    `upgrade`: brings an older schema up to this release; without it, an older one is refused.
    """
    with _one_at_a_time(settings.airflow_home), database_engine(environment) as engine:
        state = _usable_state(engine, upgrade=upgrade)
        if state is State.CURRENT and user.are_as_in(settings, engine):
            _tell_of_unused_account(settings, engine)
            return False
        log.info("preparing the database", state=state.name.lower())
        _run_initialisation(settings, environment)
        return True


def _tell_of_unused_account(settings: AirflowSettings, engine: sa.Engine) -> None:
    for account in user.accounts(settings):
        if account.role == user.TRAINER and not user.logins(account.username, engine):
            log.info(user.unused(account.username))


def wait_for_database(environment: Mapping[str, str]) -> None:
    """Returns when the schema is this release's; on an empty database the api-server makes it."""
    deadline = time.monotonic() + SECONDS_TO_WAIT_FOR_A_DATABASE
    with database_engine(environment) as engine:
        told = False
        while _usable_state(engine, upgrade=False) is not State.CURRENT:
            if time.monotonic() > deadline:
                raise DatabaseError(
                    f"the database was still empty after {SECONDS_TO_WAIT_FOR_A_DATABASE:g} s:"
                    f" start the api-server, which makes it, or run '{COMMAND}'"
                )
            if not told:
                log.info("waiting for the api-server to make the database")
                told = True
            time.sleep(SECONDS_BETWEEN_LOOKS)


def _usable_state(engine: sa.Engine, *, upgrade: bool) -> State:
    address = engine.url.render_as_string(hide_password=True)
    try:
        state = schema.state(engine)
    except sa.exc.SQLAlchemyError as error:
        cause, *_ = str(getattr(error, "orig", None) or error).splitlines()
        raise DatabaseError(
            f"the database {address} cannot be read ({cause}): check {CONNECTION}"
        ) from None
    if state is State.NEWER:
        raise DatabaseError(
            f"the database {address} was made by another release of Airflow, newer than this one"
            " (or older than 2.6): install that release, or restore a backup from before it"
        )
    if state is State.OLDER and not upgrade:
        raise DatabaseError(
            f"the database {address} is older than this release: make a backup of it, then run"
            f" '{COMMAND}'"
        )
    return state


@contextmanager
def _one_at_a_time(home: Path) -> Iterator[None]:
    with (home / "migrate.lock").open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield  # The lock goes when the file is closed, even by a crash.


@contextmanager
def database_engine(environment: Mapping[str, str]) -> Iterator[sa.Engine]:
    """Airflow's database, as the environment of its processes names it."""
    try:
        engine = sa.create_engine(_connection(environment), poolclass=sa.NullPool)
    except (sa.exc.SQLAlchemyError, ImportError) as error:
        raise DatabaseError(
            f"{CONNECTION} is no database that Airflow can use here ({error}): write"
            " sqlite:////path/airflow.db or postgresql://user:password@host/name"
        ) from None
    try:
        yield engine
    finally:
        engine.dispose()


def _connection(environment: Mapping[str, str]) -> str:
    if CONNECTION in environment:
        return environment[CONNECTION]
    answer = subprocess.run(
        _asks_for_connection(environment),
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )
    if answer.returncode != 0 or not answer.stdout.strip():
        reason = answer.stderr.strip()[-500:]
        raise DatabaseError(f"{CONNECTION}_CMD or {CONNECTION}_SECRET gives no value: {reason}")
    return answer.stdout.strip().splitlines()[-1]


def _asks_for_connection(environment: Mapping[str, str]) -> list[str]:
    if command := environment.get(f"{CONNECTION}_CMD"):
        return shlex.split(command)
    # The operator named a secrets backend: only Airflow knows what it says.
    get_value = ("config", "get-value", "database", "sql_alchemy_conn")
    return [sys.executable, "-m", "airflow", *get_value]


def _run_initialisation(settings: AirflowSettings, environment: Mapping[str, str]) -> None:
    """In a process of its own: Airflow reads its environment once, when it is imported."""
    process = subprocess.run(
        [sys.executable, "-m", "airflow_host.initialisation"],
        env={
            **environment,
            **user.as_environment(settings),
            "AIRFLOW__LOGGING__LOGGING_LEVEL": "WARNING",
        },
        stdout=sys.stderr,
        check=False,
    )
    if process.returncode != 0:
        raise DatabaseError(
            "the database could not be prepared: what went wrong is above; nothing was started"
        )
