import dataclasses
import os
import shutil
import sqlite3
import stat
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest
from click.testing import CliRunner

from hostkit.cli import HostGroup
from hostkit.errors import HostError
from hostkit.server import backup, backup_cli, manifest, restore
from hostkit.server.backup import Backup
from hostkit.server.identity import Identity
from hostkit.server.layout import Layout
from hostkit.server.manifest import DamagedBackupError
from hostkit.server.postgresql import Postgresql
from hostkit.server.restore import Restored
from tests.hostkit.server.host import DEFINITION, Host, tree
from tests.hostkit.server.postgresql import PASSWORD, Server, running_server
from tests.lacks import lack


@pytest.fixture
def host(tmp_path: Path) -> Host:
    host = Host.make(tmp_path)
    host.execute("CREATE TABLE runs (text)", "INSERT INTO runs VALUES ('before')")
    (host.artifacts / "1").mkdir()
    (host.artifacts / "1/model").write_bytes(b"weights")
    (host.artifacts / "1/model").chmod(0o400)
    return host


def create(host: Host) -> Backup:
    folder = backup.new_folder(host.layout)
    return backup.create(DEFINITION, host.loaded, host.layout, folder)


def put_back(host: Host, made: Backup, *, all_of_it: bool = True) -> tuple[Restored, ...]:
    found = restore.open_backup(DEFINITION, made.folder)
    return restore.restore(
        DEFINITION, host.loaded, host.layout, found, folders=all_of_it, settings=all_of_it
    )


def change(host: Host) -> None:
    host.execute("UPDATE runs SET text = 'after'")
    (host.artifacts / "1/model").unlink()
    (host.artifacts / "2").mkdir()
    host.layout.env_file.write_text(host.layout.env_file.read_text() + "# after\n")


def test_all_is_as_it_was_and_what_was_there_is_kept(host: Host) -> None:
    made = create(host)
    before = tree(host.layout.state), host.layout.env_file.read_text()
    change(host)
    after = tree(host.layout.state), host.layout.env_file.read_text()
    done = {item.what: item for item in put_back(host, made)}
    assert set(done) == {"artifacts", "settings", "database"}
    assert tree(host.artifacts) == {"1": None, "1/model": b"weights"}
    assert stat.S_IMODE((host.artifacts / "1/model").stat().st_mode) == 0o400
    assert host.execute("SELECT text FROM runs") == [("before",)]
    assert host.layout.env_file.read_text() == before[1]
    assert stat.S_IMODE(host.layout.env_file.stat().st_mode) == 0o640
    assert Path(done["settings"].kept).read_text() == after[1]
    assert tree(Path(done["artifacts"].kept)) == {"1": None, "2": None}
    with closing(sqlite3.connect(done["database"].kept)) as kept:
        assert kept.execute("SELECT text FROM runs").fetchall() == [("after",)]


def test_a_file_beside_the_settings_comes_back_with_its_mode_and_a_warning(host: Host) -> None:
    host.people.write_text("alice, bob")
    host.people.chmod(0o640)
    made = create(host)
    assert (made.folder / "people.json").read_text() == "alice, bob"
    host.people.write_text("alice")
    host.people.chmod(0o600)
    done = {item.what: item for item in put_back(host, made)}["people.json"]
    assert (done.where, done.note) == (str(host.people), "Those who left are back.")
    assert host.people.read_text() == "alice, bob"
    assert stat.S_IMODE(host.people.stat().st_mode) == 0o640
    assert Path(done.kept).read_text() == "alice"


def test_a_file_beside_the_settings_stays_where_they_do_or_where_the_backup_has_none(
    host: Host,
) -> None:
    without = create(host)
    host.people.write_text("alice, bob")
    made = create(host)
    host.people.write_text("alice")
    put_back(host, made, all_of_it=False)
    put_back(host, without)
    assert host.people.read_text() == "alice"


def test_a_file_beside_the_settings_is_the_operators_on_a_new_machine(
    host: Host, monkeypatch: pytest.MonkeyPatch
) -> None:
    if os.geteuid() != 0:
        lack("only root gives files to others")
    host.people.write_text("alice")
    made = create(host)
    host.people.unlink()
    monkeypatch.setattr(Identity, "of_host", lambda _: Identity(12345, 12345))
    restore.restore(
        DEFINITION, host.loaded, host.layout, made, database=False, folders=False, settings=True
    )
    state = host.people.stat()
    assert (state.st_uid, state.st_gid) == (0, 12345)


def test_one_restore_after_another_keeps_what_each_found(host: Host) -> None:
    made = create(host)
    change(host)
    first = {item.what: item.kept for item in put_back(host, made)}
    second = {item.what: item.kept for item in put_back(host, made)}
    assert tree(Path(first["artifacts"])) == {"1": None, "2": None}
    assert tree(Path(second["artifacts"])) == {"1": None, "1/model": b"weights"}


def test_only_the_database(host: Host) -> None:
    made = create(host)
    change(host)
    assert [item.what for item in put_back(host, made, all_of_it=False)] == ["database"]
    assert (host.artifacts / "2").exists()
    assert host.execute("SELECT text FROM runs") == [("before",)]


def test_a_machine_that_has_nothing_yet_gets_all(host: Host) -> None:
    made = create(host)
    loaded = host.loaded
    shutil.rmtree(host.layout.state)
    shutil.rmtree(host.layout.configuration)
    done = restore.restore(
        DEFINITION, loaded, host.layout, restore.open_backup(DEFINITION, made.folder)
    )
    assert [item.kept for item in done] == ["", "", ""]
    assert tree(host.artifacts) == {"1": None, "1/model": b"weights"}
    assert host.execute("SELECT text FROM runs") == [("before",)]


def test_the_log_of_the_present_database_does_not_get_into_the_restored_one(host: Host) -> None:
    host.execute("PRAGMA journal_mode=wal")
    made = create(host)
    # A process that was killed leaves its log behind.
    if os.fork() == 0:
        connection = sqlite3.connect(host.database)
        connection.execute("UPDATE runs SET text = 'after'")
        connection.commit()
        os._exit(0)
    os.wait()
    assert Path(f"{host.database}-wal").stat().st_size > 0
    (done,) = put_back(host, made, all_of_it=False)
    assert host.execute("SELECT text FROM runs") == [("before",)]
    with closing(sqlite3.connect(done.kept)) as kept:
        assert kept.execute("SELECT text FROM runs").fetchall() == [("after",)]


def test_a_database_that_is_damaged_can_be_replaced(host: Host) -> None:
    made = create(host)
    host.database.write_bytes(b"nonsense" * 1000)
    (done,) = put_back(host, made, all_of_it=False)
    assert host.execute("SELECT text FROM runs") == [("before",)]
    assert Path(done.kept).read_bytes() == b"nonsense" * 1000


def test_a_backup_from_before_there_was_a_database_takes_it_away(host: Host) -> None:
    content = host.database.read_bytes()
    host.database.unlink()
    made = create(host)
    host.database.write_bytes(content)
    (done,) = put_back(host, made, all_of_it=False)
    assert not host.database.exists()
    assert Path(done.kept).read_bytes() == content


def test_credentials_come_back_if_they_are_in_it(host: Host) -> None:
    if os.geteuid() != 0:
        lack("credentials are root's")
    host.layout.credentials.mkdir(mode=0o700)
    (host.layout.credentials / "PASSWORD").write_text("old")
    made = backup.create(
        DEFINITION,
        host.loaded,
        host.layout,
        backup.new_folder(host.layout),
        with_credentials=True,
    )
    (host.layout.credentials / "PASSWORD").write_text("new")
    assert "credentials" in {item.what for item in put_back(host, made)}
    assert (host.layout.credentials / "PASSWORD").read_text() == "old"
    assert stat.S_IMODE(host.layout.credentials.stat().st_mode) == 0o700


def test_a_damaged_backup_changes_nothing(host: Host) -> None:
    made = create(host)
    change(host)
    before = tree(host.layout.state)
    copy = made.folder / "artifacts/1/model"
    copy.chmod(0o600)
    copy.write_bytes(b"weightS")
    with pytest.raises(DamagedBackupError, match="artifacts/1/model"):
        put_back(host, made)
    assert tree(host.layout.state) == before


def test_another_hosts_backup_is_refused(host: Host) -> None:
    made = create(host)
    manifest.write(made.folder, dataclasses.replace(made.manifest, host="other-host"))
    with pytest.raises(HostError, match="is a backup of the other-host"):
        restore.open_backup(DEFINITION, made.folder)


def test_an_interrupted_restore_can_be_repeated(host: Host) -> None:
    made = create(host)
    (host.layout.state / ".artifacts.new").mkdir()
    (host.layout.state / ".artifacts.new/half").touch()
    put_back(host, made)
    assert tree(host.artifacts) == {"1": None, "1/model": b"weights"}


def test_a_link_that_the_host_itself_made_is_not_followed(host: Host, tmp_path: Path) -> None:
    if os.geteuid() != 0:
        lack("only root can be led astray")
    made = create(host)
    victim = tmp_path / "victim"
    shutil.rmtree(host.artifacts)
    victim.mkdir()
    host.artifacts.symlink_to(victim)
    os.chown(host.artifacts, 65534, 65534, follow_symlinks=False)
    with pytest.raises(HostError, match="is a link that neither root nor this user made"):
        put_back(host, made)
    assert list(victim.iterdir()) == []


def test_what_the_operator_put_on_another_disk_by_a_link_stays_there(
    host: Host, tmp_path: Path
) -> None:
    made = create(host)
    other = tmp_path / "disk/artifacts"
    other.parent.mkdir()
    shutil.move(host.artifacts, other)
    host.artifacts.symlink_to(other)
    (other / "2").mkdir()
    put_back(host, made)
    assert host.artifacts.is_symlink()
    assert tree(other) == {"1": None, "1/model": b"weights"}


@pytest.fixture
def run(host: Host, monkeypatch: pytest.MonkeyPatch) -> CliRunner:
    monkeypatch.setattr(backup_cli, "Layout", lambda name: Layout(name, host.root))
    return CliRunner(catch_exceptions=False)


@pytest.fixture
def group() -> HostGroup:
    group = HostGroup()
    backup_cli.add_backup_commands(group, DEFINITION)
    return group


def test_the_commands(host: Host, run: CliRunner, group: HostGroup) -> None:
    env = f"--env-file={host.layout.env_file}"
    done = run.invoke(group, ["backup", env])
    assert done.exit_code == 0
    (folder,) = host.layout.backups.iterdir()
    assert f"{folder}: 3 files, " in done.stdout
    assert "The credentials are not in it" in done.stdout
    change(host)
    done = run.invoke(group, ["restore", str(folder), env], input="n\n")
    assert done.exit_code == 1
    assert host.execute("SELECT text FROM runs") == [("after",)]
    done = run.invoke(group, ["restore", str(folder), env, "--yes"])
    assert done.exit_code == 0, done.output
    assert f"Restored artifacts: {host.artifacts}; the one before is" in done.stdout
    assert host.execute("SELECT text FROM runs") == [("before",)]


def test_the_commands_for_machines(host: Host, run: CliRunner, group: HostGroup) -> None:
    env = f"--env-file={host.layout.env_file}"
    done = run.invoke(group, ["backup", env, "--json", f"--to={host.root}/elsewhere"])
    assert done.exit_code == 0
    assert '"database": "database.sqlite"' in done.stdout
    done = run.invoke(
        group, ["restore", f"{host.root}/elsewhere", env, "--yes", "--json", "--database-only"]
    )
    assert done.exit_code == 0
    assert '"what": "database"' in done.stdout


@pytest.fixture(scope="module")
def server() -> Iterator[Server]:
    with running_server() as server:
        yield server


@pytest.fixture
def grown_up(server: Server, tmp_path: Path) -> Iterator[Host]:
    server.ask("postgres", "CREATE DATABASE mlflow")
    server.ask(
        "mlflow",
        "CREATE TYPE colour AS ENUM ('red', 'green')",
        "CREATE TABLE runs (id SERIAL PRIMARY KEY, text TEXT, colour colour)",
        "CREATE TABLE metrics (run INTEGER REFERENCES runs)",
        "INSERT INTO runs (text, colour) VALUES ('before', 'red')",
        "INSERT INTO metrics VALUES (1)",
    )
    yield Host.make(tmp_path, server.url("mlflow"))
    server.ask("postgres", "DROP DATABASE mlflow")


def test_a_database_of_postgresql_comes_back_and_the_present_one_is_kept(
    grown_up: Host, server: Server
) -> None:
    made = create(grown_up)
    assert made.manifest.database == "database.pgdump"
    # As a migration of a newer release would.
    server.ask(
        "mlflow",
        "UPDATE runs SET text = 'after'",
        "CREATE TABLE newer (run INTEGER REFERENCES runs)",
        "ALTER TABLE metrics DROP COLUMN run",
    )
    done = {item.what: item for item in put_back(grown_up, made)}
    assert server.ask("mlflow", "SELECT text, colour, run FROM runs JOIN metrics ON run = id") == (
        "before|red|1"
    )
    assert server.ask("mlflow", "SELECT to_regclass('newer')") == ""
    assert server.ask("mlflow", "INSERT INTO runs (text) VALUES ('next') RETURNING id") == "2"
    *_, schema = done["database"].kept.split()
    assert server.ask("mlflow", f'SELECT text FROM "{schema}".runs') == "after"
    # What is put aside is not backed up again; and again works as the first time.
    again = create(grown_up)
    put_back(grown_up, again)
    assert server.ask("mlflow", "SELECT count(*) FROM runs") == "2"


def test_a_dump_that_cannot_be_put_back_leaves_the_database_as_it_is(
    grown_up: Host, server: Server
) -> None:
    made = create(grown_up)
    server.ask("mlflow", "UPDATE runs SET text = 'after'")
    dump = made.folder / "database.pgdump"
    dump.write_bytes(dump.read_bytes()[:-200])
    database = Postgresql.of(grown_up.url)
    with pytest.raises(HostError, match="no sound dump"):
        database.check(dump)
    assert server.ask("mlflow", "SELECT text FROM runs") == "after"


def test_the_password_of_the_database_is_in_no_argument_and_in_no_message(server: Server) -> None:
    database = Postgresql.of(server.url("nothing"))
    assert PASSWORD in database.environment.values()
    with pytest.raises(HostError, match='database "nothing" does not exist') as raised:
        database.exists()
    for text in (database.connection, repr(database), str(database), str(raised.value)):
        assert "p@ss" not in text
        assert "p%40ss" not in text


def test_programs_that_are_missing_are_named_with_their_package(
    grown_up: Host, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", "/nowhere")
    with pytest.raises(HostError, match=r"psql is missing.*apt install postgresql-client"):
        create(grown_up)


@pytest.mark.parametrize(
    ("url", "connection"),
    [
        ("postgresql://u:secret@db:5433/m", "host='db' port='5433' user='u' dbname='m'"),
        ("postgresql+psycopg2://u@[::1]/m", "host='::1' user='u' dbname='m'"),
        (
            "postgresql:///m?host=/run/pg&sslmode=require",
            "host='/run/pg' dbname='m' sslmode='require'",
        ),
        ("postgresql://u:a%2Fb@db/m?password=x", "host='db' user='u' dbname='m'"),
        ("postgresql://db/it's", r"host='db' dbname='it\'s'"),
    ],
)
def test_libpq_is_told_what_sqlalchemy_is(url: str, connection: str) -> None:
    assert Postgresql.of(url).connection == connection
