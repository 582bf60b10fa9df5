"""`backup` and `restore`."""

import json
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import FrameType
from typing import Any

import click

from hostkit import audit
from hostkit.definition import Definition
from hostkit.errors import HostError
from hostkit.options import env_file_option, json_option, print_warnings
from hostkit.server import backup as backups
from hostkit.server import restore as restores
from hostkit.server.backup import CREDENTIALS, ENV, Backup
from hostkit.server.layout import Layout
from hostkit.server.progress import Progress, readable
from hostkit.server.restore import Restored
from hostkit.settings import CREDENTIALS_DIRECTORY, Loaded, load

CODE_OF_A_SIGNAL = 128


def add_backup_commands(group: click.Group, definition: Definition) -> None:
    """Gives a host `backup` and `restore`."""

    @group.command()
    @click.option(
        "--to",
        "folder",
        type=click.Path(path_type=Path),
        metavar="DIR",
        help="Make it in DIR, which must not exist, instead of one more below /var/backups.",
    )
    @click.option("--database-only", is_flag=True, help="Leave out the folders.")
    @click.option("--with-credentials", is_flag=True, help="Passwords and keys too; needs root.")
    @click.option(
        "--keep",
        type=click.IntRange(min=1),
        default=backups.KEPT_BY_DEFAULT,
        show_default=True,
        help="How many of those below /var/backups stay. What an upgrade may need stays too.",
        metavar="N",
    )
    @env_file_option
    @json_option
    def backup(
        *,
        folder: Path | None,
        database_only: bool,
        with_credentials: bool,
        keep: int,
        env_file: Path | None,
        as_json: bool,
    ) -> None:
        """Back up this host, while it runs, and check what was written."""
        layout = Layout(definition.name)
        loaded = _load(definition, layout, env_file)
        with ending_on_sigterm(), Progress() as progress:
            made = backups.create(
                definition,
                loaded,
                layout,
                folder.absolute() if folder else backups.new_folder(layout),
                env_file=env_file,
                with_folders=not database_only,
                with_credentials=with_credentials,
                progress=progress,
            )
            removed = [] if folder else backups.prune(definition, layout, keep=keep)
        if as_json:
            click.echo(json.dumps(_as_document(made, removed), indent=2))
        else:
            _tell(made, removed)

    @group.command()
    @click.argument("folder", type=click.Path(path_type=Path, file_okay=False), metavar="DIR")
    @click.option("--database-only", is_flag=True, help="Leave folders and settings as they are.")
    @click.option(
        "--keep-settings",
        is_flag=True,
        help="Leave the env file, the credentials and API keys as they are.",
    )
    @click.option("--restart", is_flag=True, help="Stop the host before and start it afterwards.")
    @click.option("--yes", is_flag=True, help="Do not ask.")
    @env_file_option
    @json_option
    def restore(
        *,
        folder: Path,
        database_only: bool,
        keep_settings: bool,
        restart: bool,
        yes: bool,
        env_file: Path | None,
        as_json: bool,
    ) -> None:
        """Put back the backup in DIR. What is there now is kept beside it."""
        layout = Layout(definition.name)
        with Progress() as progress:
            found = restores.open_backup(definition, folder.absolute(), progress=progress)
        with_settings = not (database_only or keep_settings)
        loaded = _load_for_restore(definition, layout, env_file, found, with_settings)
        if not yes:
            _ask(definition, found)
        with _stopped(definition, restart=restart), Progress() as progress:
            done = restores.restore(
                definition,
                loaded,
                layout,
                found,
                env_file=env_file,
                folders=not database_only,
                settings=with_settings,
                progress=progress,
            )
        audit.note_command(definition.name, "backup.restore", f"backup:{found.folder}")
        if as_json:
            click.echo(json.dumps([vars(item) for item in done], indent=2))
        else:
            _tell_restored(definition, done, restart=restart)


def _load(
    definition: Definition, layout: Layout, env_file: Path | None, credentials: Path | None = None
) -> Loaded[Any]:
    """The settings with the credentials, which systemd hands only to the host's units."""
    environment = dict(os.environ)
    folder = credentials or layout.credentials
    if CREDENTIALS_DIRECTORY not in environment and os.access(folder, os.R_OK):
        environment[CREDENTIALS_DIRECTORY] = str(folder)
    loaded = load(definition.settings, env_file=env_file, environment=environment)
    print_warnings(loaded.warnings)
    return loaded


def _load_for_restore(
    definition: Definition,
    layout: Layout,
    env_file: Path | None,
    found: Backup,
    with_settings: bool,
) -> Loaded[Any]:
    """The settings that the host will have afterwards: they say where things go."""
    if not with_settings or not (found.folder / ENV).exists():
        return _load(definition, layout, env_file)
    credentials = found.folder / CREDENTIALS
    return _load(
        definition, layout, found.folder / ENV, credentials if credentials.is_dir() else None
    )


def _ask(definition: Definition, found: Backup) -> None:
    manifest = found.manifest
    revision = f", {manifest.revision[:12]}" if manifest.revision else ""
    click.echo(
        f"The backup of {manifest.made} (Tripod {manifest.version}{revision},"
        f" {readable(manifest.bytes)}) is sound. What {definition.name} has now is kept beside it,"
        " but the host goes on from the backup: what came since is not in it."
    )
    click.confirm("Restore it?", abort=True)


@contextmanager
def _stopped(definition: Definition, *, restart: bool) -> Iterator[None]:
    """Makes sure that the host does not run meanwhile."""
    units = _running_units(definition)
    if units and not restart:
        raise HostError(
            f"{definition.name} runs: stop it first ('systemctl stop {' '.join(units)}'), or add"
            " --restart"
        )
    if units:
        _systemctl("stop", *units)
    yield
    if units:  # Only after success: else somebody must look at it first.
        _systemctl("start", *units)


def _running_units(definition: Definition) -> list[str]:
    systemctl = shutil.which("systemctl")
    if systemctl is None or not Path("/run/systemd/system").is_dir():
        return []
    done = subprocess.run(
        [
            systemctl,
            "list-units",
            "--plain",
            "--no-legend",
            # One that is still being stopped uses what is restored.
            "--state=active,activating,reloading,deactivating",
            f"{definition.name}.socket",
            f"{definition.name}.target",
            f"{definition.name}*.service",
        ],
        check=True,
        capture_output=True,
        text=True,
    )
    units = [line.split()[0] for line in done.stdout.splitlines() if line.strip()]
    own = {f"{definition.name}-backup.service", f"{definition.name}-recover.service"}
    return sorted(set(units) - own)


def _systemctl(*arguments: str) -> None:
    systemctl = shutil.which("systemctl") or "systemctl"
    done = subprocess.run([systemctl, *arguments], check=False, stderr=subprocess.PIPE, text=True)
    if done.returncode:
        raise HostError(f"'systemctl {' '.join(arguments)}' failed: {done.stderr.strip()}")


@contextmanager
def ending_on_sigterm() -> Iterator[None]:
    """Lets SIGTERM end the work as Ctrl-C does, so that nothing half is left."""

    def end(number: int, _frame: FrameType | None) -> None:
        sys.exit(CODE_OF_A_SIGNAL + number)

    before = signal.signal(signal.SIGTERM, end)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


def _as_document(made: Backup, removed: list[Path]) -> dict[str, Any]:
    manifest = made.manifest
    return {
        "folder": str(made.folder),
        "made": manifest.made,
        "bytes": manifest.bytes,
        "files": sum(entry.kind == "file" for entry in manifest.entries.values()),
        "database": manifest.database,
        "folders": manifest.folders,
        "removed": [str(path) for path in removed],
    }


def _tell(made: Backup, removed: list[Path]) -> None:
    manifest = made.manifest
    files = sum(entry.kind == "file" for entry in manifest.entries.values())
    click.echo(f"{made.folder}: {files} files, {readable(manifest.bytes)}, read again and sound.")
    if not (made.folder / CREDENTIALS).exists():
        click.echo("The credentials are not in it: --with-credentials adds them.")
    for path in removed:
        click.echo(f"Removed the old backup {path}.")


def _tell_restored(definition: Definition, done: tuple[Restored, ...], *, restart: bool) -> None:
    for item in done:
        kept = f"; the one before is {item.kept}" if item.kept else ""
        click.echo(f"Restored {item.what}: {item.where}{kept}.")
        if item.note:
            click.echo(item.note)
    if not restart:
        click.echo(f"Start the host by 'systemctl start {definition.unit}'.")
