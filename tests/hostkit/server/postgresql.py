"""A server of PostgreSQL for tests: of its own, on a socket and a port of this machine."""

import os
import pwd
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from tests.lacks import lack

PASSWORD = "p@ss/w:rd' \\"


@dataclass(frozen=True)
class Server:
    """A server that runs.

    `folder`: where its socket is.
    `port`: the number in the socket's name.
    """

    folder: Path
    port: int

    def url(self, database: str) -> str:
        """The URL of a database, as SQLAlchemy writes it."""
        return f"postgresql+psycopg2://tripod:p%40ss%2Fw%3Ard'%20%5C@/{database}?host={self.folder}&port={self.port}"

    def ask(self, database: str, *statements: str) -> str:
        """Runs statements; returns what the last one answered."""
        done = subprocess.run(
            [
                "psql",
                f"--dbname=host={self.folder} port={self.port} user=tripod dbname={database}",
                "--no-psqlrc",
                "--tuples-only",
                "--no-align",
                "--quiet",
                "--set=ON_ERROR_STOP=1",
                *(f"--command={statement}" for statement in statements),
            ],
            env={**os.environ, "PGPASSWORD": PASSWORD},
            check=True,
            capture_output=True,
            text=True,
        )
        return done.stdout.strip()


@contextmanager
def running_server(port: int = 5432) -> Iterator[Server]:
    """Starts a server, and stops it in the end."""
    # Where another user may go: pytest's own folders are this user's.
    with tempfile.TemporaryDirectory(prefix="postgresql-", dir="/tmp") as folder:
        yield from _running_server(Path(folder), port)


def _running_server(folder: Path, port: int) -> Iterator[Server]:
    programs = _programs()
    # PostgreSQL does not run as root.
    user = "nobody" if os.geteuid() == 0 else None
    data, password = folder / "data", folder / "password"
    password.write_text(PASSWORD)
    if user:
        os.chown(folder, pwd.getpwnam(user).pw_uid, -1)

    def run(*command: str | Path) -> None:
        subprocess.run(command, check=True, user=user, stdout=subprocess.DEVNULL, cwd=folder)

    run(
        programs / "initdb",
        f"--pgdata={data}",
        "--username=tripod",
        f"--pwfile={password}",
        "--auth=scram-sha-256",
        "--no-sync",
    )
    options = f"-c listen_addresses='' -c unix_socket_directories={folder} -p {port} -F"
    control = (programs / "pg_ctl", f"--pgdata={data}", f"--log={folder}/log", "--wait")
    run(*control, f"--options={options}", "start")
    try:
        yield Server(folder, port)
    finally:
        run(*control, "--mode=immediate", "stop")


def _programs() -> Path:
    found = sorted(Path("/usr/lib/postgresql").glob("*/bin/initdb"))
    if found:
        return found[-1].parent
    initdb = shutil.which("initdb")
    if initdb is None:
        lack("PostgreSQL is not here: on Debian, apt install postgresql")
    return Path(initdb).parent
