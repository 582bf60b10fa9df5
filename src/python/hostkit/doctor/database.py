"""What can be wrong with a host's own database, in the words of a doctor."""

from pathlib import Path

from hostkit.doctor.steps import Fault, NothingToCheck
from hostkit.network import redacted

_SQLITE = "sqlite:///"


def refuse_missing_file(url: str) -> None:
    """Raises `NothingToCheck` if the file of SQLite is not there yet: to look would make it."""
    path = Path(url.removeprefix(_SQLITE))
    if url.startswith(_SQLITE) and not path.exists():
        raise NothingToCheck(f"{path} is not there yet: the first start makes it")


def unusable(url: str, error: Exception, setting: str) -> Fault:
    """The database does not answer."""
    reason = str(getattr(error, "orig", None) or error).partition("\n")[0]
    if url.startswith(_SQLITE):
        return Fault(
            f"{redacted(url)} cannot be read ({reason})",
            "The file belongs to another user, is no database, or is locked by a process that"
            " hangs.",
            f"Make the file and its folder the service's own ('chown'), or correct {setting}.",
        )
    return Fault(
        f"{redacted(url)} cannot be used ({reason})",
        "The database server is down, does not let this server in, or the user, the password or"
        " the name of the database is wrong.",
        f"Correct {setting}; on the server of the database: 'systemctl status postgresql', and"
        " pg_hba.conf and listen_addresses for this server's address.",
    )


def older(host: str) -> Fault:
    """The schema is of an older release than this one."""
    return Fault(
        "the schema is older than this release needs",
        "A new release was put here without its migration.",
        f"'{host} backup', then '{host} migrate', then start the host.",
    )


def newer(host: str) -> Fault:
    """The schema is of a newer release than this one."""
    return Fault(
        "the schema is newer than this release knows",
        "A newer release has used this database.",
        f"Install the newer release again, or '{host} restore' a backup from before it.",
    )


def foreign(setting: str) -> Fault:
    """It is the database of something else."""
    return Fault(
        "it holds the tables of another program",
        "The name of another database was written.",
        f"Name an empty database in {setting}.",
    )
