"""A database of PostgreSQL: dumped, checked and put back by PostgreSQL's own programs."""

import os
import re
import shutil
import subprocess
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, Literal
from urllib.parse import parse_qsl, unquote

from hostkit.errors import HostError
from hostkit.network import redacted
from hostkit.server.identity import Identity
from hostkit.server.trees import Note

SCHEMA = "public"

_SECRETS = {"password": "PGPASSWORD"}
"""What a process's arguments must not show."""


@dataclass(frozen=True)
class Postgresql:
    """A database of PostgreSQL.

    `url`: its URL without the password, for messages.
    `connection`: how libpq is told of it, without the password.
    `environment`: the password.
    """

    url: str
    connection: str
    environment: Mapping[str, str] = field(repr=False)

    @classmethod
    def of(cls, url: str) -> "Postgresql":
        """The database of a URL as SQLAlchemy writes it."""
        words = _words(url)
        secrets = {
            variable: words.pop(word) for word, variable in _SECRETS.items() if word in words
        }
        connection = " ".join(f"{word}={_quoted(text)}" for word, text in words.items())
        return cls(redacted(url), connection, secrets)

    def __str__(self) -> str:
        return self.url

    @property
    def file_name(self) -> Literal["database.pgdump"]:
        """The name of its copy in a backup."""
        return "database.pgdump"

    def exists(self) -> bool:
        """Whether it is there and lets us in; a server that does not is an error."""
        self._ask("SELECT 1")
        return True

    def size(self) -> int:
        """What it takes on its server: a dump is compressed and has no indexes, so it is less."""
        return int(self._ask("SELECT pg_database_size(current_database())"))

    def copy(self, target: Path, note: Note) -> None:
        """Writes a copy of one moment, by `pg_dump`."""
        self._check_versions()
        # What restores have put aside is no part of it.
        self._run(
            "pg_dump",
            ["--format=custom", "--exclude-schema=before-restore-*", f"--file={target}"],
            "could not be dumped",
        )
        note(target.stat().st_size)

    def check(self, copy: Path) -> None:
        """Lets PostgreSQL read the dump to its end."""
        for arguments in (["--list"], ["--file=/dev/null"]):
            with copy.open("rb") as dump:
                _finish(
                    [_program("pg_restore"), *arguments], f"{copy} is no sound dump", stdin=dump
                )

    def replace(self, copy: Path | None, aside: str, identity: Identity) -> str:
        """Puts a dump in the place of what is there, all or nothing.

        What is there is kept under another name of its schema.
        """
        with tempfile.TemporaryFile(dir="/var/tmp") as script:
            if copy is not None:
                with copy.open("rb") as dump:
                    _finish(
                        [
                            _program("pg_restore"),
                            "--no-owner",
                            "--no-privileges",
                            "--file=-",
                        ],
                        f"{copy} is no sound dump",
                        stdin=dump,
                        stdout=script,
                    )
            script.seek(0)
            with identity.acting():
                self._run(
                    "psql",
                    [
                        "--no-psqlrc",
                        "--quiet",
                        "--output=/dev/null",
                        "--single-transaction",
                        "--set=ON_ERROR_STOP=1",
                        f'--command=ALTER SCHEMA "{SCHEMA}" RENAME TO "{aside}"',
                        f'--command=CREATE SCHEMA "{SCHEMA}"',
                        "--file=-",
                    ],
                    "could not be restored, and is as it was",
                    stdin=script,
                )
        return f"{self.url}, schema {aside}"

    def _check_versions(self) -> None:
        version = _finish([_program("pg_dump"), "--version"], "pg_dump does not run")
        ours = int(re.findall(r"\d+", version)[0])
        server = int(self._ask("SHOW server_version_num")) // 10_000
        if ours < server:
            raise HostError(
                f"pg_dump is version {ours}, but the server of {self.url} is version {server}:"
                f" install the package postgresql-client-{server}"
            )

    def _ask(self, question: str) -> str:
        return self._run(
            "psql",
            ["--no-psqlrc", "--tuples-only", "--no-align", f"--command={question}"],
            "cannot be reached",
        ).strip()

    def _run(
        self, program: str, arguments: Sequence[str], fault: str, stdin: IO[bytes] | None = None
    ) -> str:
        return _finish(
            [_program(program), f"--dbname={self.connection}", "--no-password", *arguments],
            f"the database {self.url} {fault}",
            environment=self.environment,
            stdin=stdin,
        )


def _words(url: str) -> dict[str, str]:
    """What libpq calls the parts of a URL; `?host=/run/postgresql` wins over the part in front."""
    _, _, rest = url.partition("://")
    rest, _, query = rest.partition("?")
    account, at, place = rest.partition("@")
    if not at:
        account, place = "", rest
    user, _, password = account.partition(":")
    address, _, database = place.partition("/")
    host, port = _host_and_port(address)
    words = {
        "host": host,
        "port": port,
        "user": unquote(user),
        "password": unquote(password),
        "dbname": unquote(database),
        **dict(parse_qsl(query)),
    }
    return {word: text for word, text in words.items() if text}


def _host_and_port(address: str) -> tuple[str, str]:
    match = re.fullmatch(r"(?:\[(?P<bare>[^\]]*)\]|(?P<name>[^:]*))(?::(?P<port>\d*))?", address)
    if match is None:
        raise HostError(f"{address!r} in the URL of the database is no host and port")
    return match["bare"] or match["name"] or "", match["port"] or ""


def _quoted(text: str) -> str:
    escaped = text.replace("\\", "\\\\").replace("'", "\\'")
    return f"'{escaped}'"


def _program(name: str) -> str:
    path = shutil.which(name)
    if path is None:
        raise HostError(
            f"{name} is missing, by which PostgreSQL is backed up and restored: install it, on"
            " Debian by 'apt install postgresql-client'"
        )
    return path


def _finish(
    command: Sequence[str],
    fault: str,
    *,
    environment: Mapping[str, str] | None = None,
    stdin: IO[bytes] | None = None,
    stdout: IO[bytes] | None = None,
) -> str:
    done = subprocess.run(
        command,
        check=False,
        env={"PGCONNECT_TIMEOUT": "10", **os.environ, **(environment or {})},
        stdin=stdin or subprocess.DEVNULL,
        stdout=stdout or subprocess.PIPE,
        stderr=subprocess.PIPE,
        # Also in name no other user than the one whose rights it has.
        user=os.geteuid(),
        group=os.getegid(),
    )
    if done.returncode:
        lines = done.stderr.decode(errors="replace").strip().splitlines()
        reasons = [line for line in lines if "error" in line.lower()] or lines[-1:]
        raise HostError(f"{fault} ({(reasons or [f'exit code {done.returncode}'])[0]})")
    return (done.stdout or b"").decode(errors="replace")
