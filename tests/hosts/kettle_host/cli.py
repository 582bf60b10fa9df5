"""Commands of the kettle."""

import json
import os
import signal
import socket
import sqlite3
import sys
from contextlib import closing
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import ClassVar

import click
from kettle_host import variant
from pydantic import Field, SecretStr

from hostkit.cli import HostGroup, add_common_commands
from hostkit.definition import Contents, Definition, Entrance
from hostkit.errors import HostError
from hostkit.options import env_file_option, json_option, load_settings
from hostkit.settings import Loaded, Settings


class KettleSettings(Settings):
    """Settings of the kettle."""

    host_name: ClassVar[str] = "kettle-host"

    state_directory: Path = Path("/var/lib/kettle-host")
    kettle_port: int = Field(7000, description="Port to listen on", examples=[7000])
    kettle_address: str = Field("127.0.0.1", description="Address to listen on")
    kettle_owner: str = Field(description="Who drinks", examples=["me"])
    kettle_key: SecretStr | None = Field(None, description="What opens it")

    @property
    def database(self) -> Path:
        """What it keeps."""
        return self.state_directory / "kettle.db"


def _contents(loaded: Loaded[KettleSettings]) -> Contents:
    return Contents(f"sqlite:///{loaded.settings.database}")


def _entrance(loaded: Loaded[KettleSettings]) -> Entrance:
    settings = loaded.settings
    return Entrance(
        url=None,
        url_variable="",
        address=settings.kettle_address,
        port=settings.kettle_port,
        max_body_bytes=None,
        timeout_seconds=1,
    )


DEFINITION = Definition(
    settings=KettleSettings,
    distributions=("click",),
    unit="kettle-host.service",
    contents=_contents,
    entrance=_entrance,
    secrets={"KETTLE_KEY": lambda: os.urandom(16).hex()},
    migrates=True,
    address=("KETTLE_ADDRESS", "KETTLE_PORT"),
)


@click.group(cls=HostGroup)
def main() -> None:
    """The kettle."""


@main.command()
@env_file_option
def serve(env_file: Path | None) -> None:
    """Answers each request with its schema, and counts it in the database."""
    settings = load_settings(KettleSettings, env_file).settings
    if variant.SERVE == "crashes":
        raise HostError("the kettle is dry")
    with closing(sqlite3.connect(settings.database)) as database:
        schema = database.execute("PRAGMA user_version").fetchone()[0]
        if schema == 0:
            _make(database)
        elif schema != variant.SCHEMA:
            raise HostError(f"the database has schema {schema}, not {variant.SCHEMA}")
        server = HTTPServer((settings.kettle_address, settings.kettle_port), _handler(database))
        signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
        if variant.SERVE == "hangs":
            signal.pause()
        _notify("READY=1")
        server.serve_forever()


@main.command()
@env_file_option
@json_option
def migrate(env_file: Path | None, as_json: bool) -> None:
    """Brings the database up to this release."""
    settings = load_settings(KettleSettings, env_file).settings
    if settings.kettle_key is None:
        raise HostError("the key is missing")
    if variant.MIGRATE == "fails":
        raise HostError("this cannot be migrated")
    with closing(sqlite3.connect(settings.database, isolation_level=None)) as database:
        schema = database.execute("PRAGMA user_version").fetchone()[0]
        if schema == 0:
            _make(database)
        if schema > variant.SCHEMA:
            raise HostError("the database is newer")
        if schema < variant.SCHEMA:
            database.execute(f"ALTER TABLE cups ADD COLUMN added_{variant.SCHEMA}")
            database.execute("PRAGMA user_version = 99")
            if variant.MIGRATE == "breaks":
                os.kill(os.getpid(), signal.SIGKILL)
            database.execute(f"PRAGMA user_version = {variant.SCHEMA}")
    if as_json:
        click.echo(json.dumps({"changed": schema != variant.SCHEMA}))


def _make(database: sqlite3.Connection) -> None:
    database.execute("CREATE TABLE cups (at TEXT DEFAULT CURRENT_TIMESTAMP)")
    database.execute(f"PRAGMA user_version = {variant.SCHEMA}")


def _handler(database: sqlite3.Connection) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            database.execute("INSERT INTO cups DEFAULT VALUES")
            database.commit()
            cups = database.execute("SELECT count(*) FROM cups").fetchone()[0]
            answer = json.dumps({"schema": variant.SCHEMA, "cups": cups}).encode()
            self.send_response(200)
            self.send_header("Content-Length", str(len(answer)))
            self.end_headers()
            self.wfile.write(answer)

    return Handler


def _notify(state: str) -> None:
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as notifier:
        notifier.connect(os.environ["NOTIFY_SOCKET"].replace("@", "\0", 1))
        notifier.send(state.encode())


add_common_commands(main, DEFINITION)
