"""The servers that this host calls, which is none but itself, and how a doctor examines it."""

import os
from functools import partial
from pathlib import Path

from pydantic import SecretStr

from hostkit.doctor import database, machine, mlflow
from hostkit.doctor.connection import Target
from hostkit.doctor.steps import STEP_SECONDS, Fault, NothingToCheck, Step, Walk
from hostkit.link import Link
from hostkit.servers import MLFLOW
from hostkit.settings import Loaded
from mlflow_host.accounts.secret import ADMIN_PASSWORD, made_file
from mlflow_host.settings import MlflowSettings

_DATABASE = "MLFLOW_BACKEND_STORE_URI"
_SQLITE = "sqlite:///"


def links_of(settings: MlflowSettings) -> tuple[Link, ...]:
    """MLflow itself, by the URL that the others have."""
    return (Link(MLFLOW, str(settings.mlflow_public_url), "MLFLOW_PUBLIC_URL"),)


def walks(loaded: Loaded[MlflowSettings]) -> tuple[Walk, ...]:
    """What a doctor examines: this machine, the database, and MLflow as the others see it."""
    settings = loaded.settings
    (itself,) = links_of(settings)
    return (
        machine.walk(
            machine.Machine(
                loaded, ("MLFLOW_PORT",), _folders(settings), unit="mlflow-host.service"
            )
        ),
        Walk(
            "database",
            loaded.place(_DATABASE),
            (
                Step("schema", partial(_schema, loaded), seconds=2 * STEP_SECONDS),
                Step("accounts", partial(_accounts, loaded), seconds=2 * STEP_SECONDS),
            ),
        ),
        mlflow.walk(Target(itself, loaded), _admin(loaded)),
    )


def _admin(loaded: Loaded[MlflowSettings]) -> mlflow.Account:
    settings = loaded.settings
    password, place = settings.mlflow_auth_admin_password, loaded.place(ADMIN_PASSWORD)
    mends = (
        f"'systemctl restart mlflow-host' gives the account the password in {place}; 'mlflow-host"
        f" rotate {ADMIN_PASSWORD}' makes a new one and restarts this host."
    )
    file = made_file(settings, ADMIN_PASSWORD)
    if password is None and os.access(file, os.R_OK):
        password, place = SecretStr(file.read_text(encoding="utf-8")), str(file)
        mends = (
            f"'mlflow-host users password {settings.mlflow_auth_admin_username}' makes a new"
            f" password; write it into {place}."
        )
    return mlflow.Account(
        settings.mlflow_auth_admin_username,
        password if settings.asks_for_accounts else None,
        place,
        f"mlflow-host rotate {ADMIN_PASSWORD}",
        mends,
    )


def _accounts(loaded: Loaded[MlflowSettings]) -> str:
    """Whether callers need an account where they should."""
    from sqlalchemy.exc import SQLAlchemyError  # noqa: PLC0415 (half a second)

    from mlflow_host.accounts import setup  # noqa: PLC0415

    settings = loaded.settings
    try:
        found = setup.protection(settings)
    except (OSError, SQLAlchemyError) as error:
        raise database.unusable(
            settings.mlflow_backend_store_uri, error, loaded.place(_DATABASE)
        ) from None
    if found is setup.Protection.LATER:
        raise Fault(
            "everybody who reaches this host may change everything",
            "It was upgraded from a release without accounts, and none has been made yet.",
            "'mlflow-host users add-service api' and 'mlflow-host users add-service"
            " airflow' make those of the other hosts and say where their passwords go; then"
            " 'systemctl restart mlflow-host' locks it.",
        )
    if found is setup.Protection.ON:
        return "everybody needs one"
    if settings.mlflow_auth == "no" and settings.is_reachable:
        return f"nobody needs one, as {loaded.place('MLFLOW_AUTH')} says"
    raise NothingToCheck("only this machine reaches this host")


def _folders(settings: MlflowSettings) -> dict[str, Path]:
    """Where files are kept on this machine, rather than in a database server or object store."""
    places = {
        _DATABASE: settings.mlflow_backend_store_uri.partition(_SQLITE)[2].rpartition("/")[0],
        "MLFLOW_ARTIFACTS_DESTINATION": settings.mlflow_artifacts_destination,
    }
    return {name: Path(place) for name, place in places.items() if place.startswith("/")}


def _schema(loaded: Loaded[MlflowSettings]) -> str:
    """Whether the database answers, and has the schema that this release needs."""
    from sqlalchemy.exc import SQLAlchemyError  # noqa: PLC0415 (half a second)

    from mlflow_host.database import Schema, state_of  # noqa: PLC0415

    uri, setting = loaded.settings.mlflow_backend_store_uri, loaded.place(_DATABASE)
    database.refuse_missing_file(uri)
    try:
        state = state_of(uri)
    except (OSError, SQLAlchemyError) as error:
        raise database.unusable(uri, error, setting) from None
    match state:
        case Schema.OLDER:
            raise database.older("mlflow-host")
        case Schema.NEWER:
            raise database.newer("mlflow-host")
        case Schema.FOREIGN:
            raise database.foreign(setting)
        case Schema.EMPTY:
            return "empty: the first start makes the schema"
    return "as this release needs it"
