"""Whether accounts are asked for, and how MLflow's own basic-auth application is told of ours."""

import os
from enum import Enum, auto

import structlog

from hostkit.errors import HostError
from hostkit.files import read_or_create, write_atomically
from mlflow_host.accounts import schema
from mlflow_host.accounts.secret import ADMIN_PASSWORD, SECRET_KEY, made_file, new_secret
from mlflow_host.settings import MlflowSettings

CONFIGURATION = "basic-auth.ini"
"""Below STATE_DIRECTORY: made again at each start, since it says where the database is."""

REMEDY = (
    "this database is from a release without accounts: 'mlflow-host users add-service api' and"
    " 'users add-service airflow' make those of the other hosts and say where their passwords go;"
    " then 'systemctl restart mlflow-host' locks it"
)
"""The one step from an unprotected installation."""

_log = structlog.get_logger("accounts")


class Protection(Enum):
    """Whether callers need an account.

    `ON`, `OFF`: as the settings say.
    `LATER`: they should, but the database comes from a release without accounts: the hosts that
    call have none yet, so they are asked for as soon as the first one was made.
    """

    ON = auto()
    OFF = auto()
    LATER = auto()


def protection(settings: MlflowSettings) -> Protection:
    """Whether callers need an account. Asks the database."""
    if not settings.asks_for_accounts:
        return Protection.OFF
    if settings.mlflow_auth == "yes":
        return Protection.ON
    has_tables = schema.exist(settings.mlflow_backend_store_uri)
    return Protection.ON if has_tables else Protection.LATER


def prepare(settings: MlflowSettings, *, is_new: bool) -> Protection:
    """Makes the tables of accounts where they belong, and says whether accounts are asked for.

    `is_new`: whether the database was made just now.
    """
    uri = settings.mlflow_backend_store_uri
    # On loopback too: whoever opens this host to others later is to find it locked.
    wanted = is_new or settings.mlflow_auth == "yes" or not settings.is_reachable
    if schema.are_newer(uri):
        raise _newer()
    if schema.exist(uri) and not schema.are_current(uri):
        raise HostError(
            "the tables of accounts in the database are those of an older MLflow: make a backup of"
            " it, then run 'mlflow_host.pex migrate'"
        )
    is_on = protection(settings) is Protection.ON or (is_new and settings.asks_for_accounts)
    configure(settings)
    if is_on:
        _give_secrets(settings)  # MLflow reads them when what follows imports it.
    if wanted and not schema.exist(uri):
        schema.upgrade(uri)
    return protection(settings)


def migrate(settings: MlflowSettings, *, is_new: bool) -> bool:
    """Brings the tables of accounts up to this release; whether there was anything to change.

    `is_new`: whether the database was made just now, so that they are made too. Otherwise there
    may be none: then the database is from a release without accounts, which is `LATER`'s case.
    """
    uri = settings.mlflow_backend_store_uri
    if schema.are_newer(uri):
        raise _newer()
    if schema.are_current(uri) or not (is_new or schema.exist(uri)):
        return False
    configure(settings)
    schema.upgrade(uri)
    return True


def configure(settings: MlflowSettings) -> None:
    """Writes the file that MLflow reads when its application of accounts is imported."""
    path = settings.state_directory / CONFIGURATION
    values = {
        "default_permission": "NO_PERMISSIONS",
        "database_uri": settings.mlflow_backend_store_uri,
        "admin_username": settings.mlflow_auth_admin_username,
        "authorization_function": "mlflow_host.accounts.running:authorization",
    }
    lines = (f"{name} = {value.replace('%', '%%')}\n" for name, value in values.items())
    try:
        settings.state_directory.mkdir(parents=True, exist_ok=True)
        write_atomically(path, "".join(["[mlflow]\n", *lines]), mode=0o600)
    except OSError as error:
        raise _unwritable(settings, error) from None
    os.environ["MLFLOW_AUTH_CONFIG_PATH"] = str(path)
    # A request that MLflow has no rule for is refused, rather than let through.
    os.environ["MLFLOW_BASIC_AUTH_FAIL_CLOSED"] = "true"


def _give_secrets(settings: MlflowSettings) -> None:
    """Puts the key of sessions and the first password of the admin where MLflow reads them."""
    for name, given in (
        (SECRET_KEY, settings.mlflow_flask_server_secret_key),
        (ADMIN_PASSWORD, settings.mlflow_auth_admin_password),
    ):
        os.environ[name] = given.get_secret_value() if given else _made(settings, name)


def _made(settings: MlflowSettings, name: str) -> str:
    path = made_file(settings, name)
    try:
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        is_new = not path.exists()
        text = read_or_create(path, new_secret)
    except OSError as error:
        raise _unwritable(settings, error) from None
    if is_new and name == ADMIN_PASSWORD:
        _log.info("made a password", user=settings.mlflow_auth_admin_username, file=str(path))
    return text


def _newer() -> HostError:
    return HostError(
        "the tables of accounts in the database are those of a newer MLflow: install the newer"
        " release again, or restore the backup made before it"
    )


def _unwritable(settings: MlflowSettings, error: OSError) -> HostError:
    return HostError(
        f"{error.filename or settings.state_directory} cannot be written ({error.strerror}): make"
        " STATE_DIRECTORY a folder that this user may write to"
    )
