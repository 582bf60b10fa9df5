import multiprocessing
import os
import resource
import shutil
import signal
import sqlite3
import stat
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hostkit.errors import HostError
from hostkit.server import backup, manifest
from hostkit.server.backup import Backup
from hostkit.server.backup_cli import ending_on_sigterm
from hostkit.server.manifest import DamagedBackupError, Manifest, Upgrade
from hostkit.server.progress import Progress
from hostkit.server.trees import Entry
from tests.hostkit.server.host import DEFINITION, Host, tree
from tests.lacks import lack

FORK = multiprocessing.get_context("fork")


@pytest.fixture
def host(tmp_path: Path) -> Host:
    host = Host.make(tmp_path)
    host.execute(
        "CREATE TABLE runs (id INTEGER PRIMARY KEY, text)", "INSERT INTO runs VALUES (1, 'a')"
    )
    (host.artifacts / "1" / "empty").mkdir(parents=True)
    (host.artifacts / "1" / "model").write_bytes(b"weights")
    (host.artifacts / "latest").symlink_to("1")
    return host


def create(
    host: Host, name: str = "one", *, upgrade: Upgrade | None = None, with_folders: bool = True
) -> Backup:
    return backup.create(
        DEFINITION,
        host.loaded,
        host.layout,
        host.layout.backups / name,
        upgrade=upgrade,
        with_folders=with_folders,
    )


def verified(folder: Path) -> Manifest:
    found = manifest.read(folder)
    manifest.verify(folder, found)
    return found


def in_another_process(function: Callable[[], None]) -> int | None:
    process = FORK.Process(target=function)
    process.start()
    process.join()
    return process.exitcode


def test_a_backup_holds_database_folders_and_settings(host: Host) -> None:
    made = create(host)
    assert tree(made.folder / "artifacts") == tree(host.artifacts)
    assert (made.folder / "env").read_text() == host.layout.env_file.read_text()
    with closing(sqlite3.connect(made.folder / "database.sqlite")) as copy:
        assert copy.execute("SELECT * FROM runs").fetchall() == [(1, "a")]
    assert verified(made.folder) == made.manifest
    assert made.manifest.folders == {"artifacts": str(host.artifacts)}
    assert stat.S_IMODE(made.folder.stat().st_mode) == 0o700
    assert [path.name for path in host.layout.backups.iterdir()] == ["one"]


def test_the_release_is_in_it(host: Host) -> None:
    release = host.layout.releases / "abc"
    release.mkdir(parents=True)
    (release / "release.json").write_text("{}")
    host.layout.current.symlink_to("releases/abc")
    assert (create(host).folder / "release.json").read_text() == "{}"


@pytest.fixture
def password(host: Host) -> Path:
    """A credential of the host."""
    host.layout.credentials.mkdir()
    file = host.layout.credentials / "PASSWORD"
    file.write_text("secret")
    file.chmod(0o600)
    return file


def create_with_credentials(host: Host) -> Backup:
    folder = host.layout.backups / "with-credentials"
    return backup.create(DEFINITION, host.loaded, host.layout, folder, with_credentials=True)


def test_credentials_are_not_in_it_and_only_root_may_ask_for_them(
    host: Host, password: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert password.exists()
    assert not (create(host).folder / "credentials").exists()
    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    with pytest.raises(HostError, match="only root may read the credentials"):
        create_with_credentials(host)


def test_root_can_have_the_credentials_in_it(host: Host, password: Path) -> None:
    if os.geteuid() != 0:
        lack("credentials are root's")
    copy = create_with_credentials(host).folder / "credentials" / password.name
    assert copy.read_text() == "secret"
    assert stat.S_IMODE(copy.stat().st_mode) == 0o600


def test_a_folder_that_exists_is_refused(host: Host) -> None:
    create(host)
    with pytest.raises(HostError, match="exists"):
        create(host)


def test_a_host_without_a_database_yet_has_a_backup_that_says_so(host: Host) -> None:
    host.database.unlink()
    assert create(host).manifest.database == "absent"


def test_a_host_that_is_not_there_has_no_backup(host: Host) -> None:
    loaded, layout = host.loaded, host.layout
    host.database.unlink()
    shutil.rmtree(host.artifacts)
    layout.env_file.unlink()
    with pytest.raises(HostError, match=r"nothing to back up: neither .*/etc/test-host/env"):
        backup.create(DEFINITION, loaded, layout, layout.backups / "one")
    assert not list(layout.backups.iterdir())


def test_the_database_alone(host: Host) -> None:
    made = create(host, with_folders=False)
    assert made.manifest.folders is None
    assert {path.name for path in made.folder.iterdir()} == {
        "database.sqlite",
        "env",
        "manifest.json",
    }


@pytest.mark.parametrize("journal", ["delete", "wal"])
def test_the_copy_of_a_database_that_is_written_all_the_time_is_of_one_moment(
    host: Host, journal: str
) -> None:
    host.execute(
        f"PRAGMA journal_mode={journal}",
        "CREATE TABLE pairs (one INTEGER, filler BLOB)",
        "CREATE TABLE others (other INTEGER)",
    )
    stop = FORK.Event()
    started = FORK.Event()

    def write() -> None:
        with closing(sqlite3.connect(host.database, timeout=60)) as connection:
            number = 0
            while not stop.is_set():
                number += 1
                with connection:
                    connection.execute("INSERT INTO pairs VALUES (?, randomblob(20000))", (number,))
                    connection.execute("INSERT INTO others VALUES (?)", (number,))
                if number == 300:
                    started.set()

    writer = FORK.Process(target=write)
    writer.start()
    try:
        assert started.wait(60)
        made = create(host)
    finally:
        stop.set()
        writer.join()
    with closing(sqlite3.connect(made.folder / "database.sqlite")) as copy:
        (pairs,) = copy.execute("SELECT max(one) FROM pairs").fetchone()
        (others,) = copy.execute("SELECT max(other) FROM others").fetchone()
        assert copy.execute("PRAGMA integrity_check").fetchone() == ("ok",)
    assert pairs == others >= 300
    assert writer.exitcode == 0


def test_a_database_that_is_damaged_is_not_backed_up_as_if_it_were_sound(host: Host) -> None:
    for _ in range(60):
        host.execute("INSERT INTO runs (text) VALUES (hex(randomblob(2000)))")
    content = bytearray(host.database.read_bytes())
    content[4096 * 3 : 4096 * 5] = os.urandom(4096 * 2)
    host.database.write_bytes(content)
    with pytest.raises(HostError, match=r"no sound SQLite database|cannot be copied"):
        create(host)
    assert list(host.layout.backups.iterdir()) == []


def test_files_that_did_not_change_are_kept_once(host: Host) -> None:
    first = create(host, "one")
    (host.artifacts / "1" / "second").write_bytes(b"more")
    second = create(host, "two")
    copies = [made.folder / "artifacts/1/model" for made in (first, second)]
    assert copies[0].samefile(copies[1])
    assert not copies[0].samefile(host.artifacts / "1/model")
    assert (second.folder / "artifacts/1/second").read_bytes() == b"more"
    verified(second.folder)


def test_a_damaged_copy_is_not_used_again(host: Host) -> None:
    first = create(host, "one")
    copy = first.folder / "artifacts/1/model"
    times = copy.stat()
    copy.write_bytes(b"WEIGHTS")
    os.utime(copy, ns=(times.st_atime_ns, times.st_mtime_ns))
    second = create(host, "two")
    assert (second.folder / "artifacts/1/model").read_bytes() == b"weights"


def test_a_file_that_changed_is_copied_anew(host: Host) -> None:
    create(host, "one")
    (host.artifacts / "1/model").write_bytes(b"heavier weights")
    assert (create(host, "two").folder / "artifacts/1/model").read_bytes() == b"heavier weights"


def test_links_are_copied_and_not_followed(host: Host, tmp_path: Path) -> None:
    (tmp_path / "secret").write_text("secret")
    (host.artifacts / "trap").symlink_to(tmp_path / "secret")
    made = create(host)
    assert (made.folder / "artifacts/trap").readlink() == tmp_path / "secret"
    assert made.manifest.entries["artifacts/trap"] == Entry("link", target=str(tmp_path / "secret"))


def test_what_is_no_file_is_left_out(host: Host) -> None:
    os.mkfifo(host.artifacts / "pipe")
    assert "artifacts/pipe" not in create(host).manifest.entries


@pytest.mark.parametrize("damage", ["flip", "truncate", "missing", "more", "kind"])
@pytest.mark.parametrize("name", ["artifacts/1/model", "database.sqlite", "env"])
def test_damage_is_seen_and_named(host: Host, name: str, damage: str) -> None:
    made = create(host)
    path = made.folder / name
    content = bytearray(path.read_bytes())
    match damage:
        case "flip":
            content[len(content) // 2] ^= 1
            path.write_bytes(content)
        case "truncate":
            path.write_bytes(content[:-1])
        case "missing":
            path.unlink()
        case "more":
            name = f"{name}-wal"
            (made.folder / name).touch()
        case "kind":
            path.unlink()
            path.symlink_to("/etc/passwd")
    with pytest.raises(DamagedBackupError, match=name):
        verified(made.folder)


@pytest.fixture(scope="module")
def made_once(tmp_path_factory: pytest.TempPathFactory) -> Path:
    host = Host.make(tmp_path_factory.mktemp("host"))
    (host.artifacts / "model").write_bytes(b"weights")
    return create(host).folder


@given(st.data())
def test_any_damage_of_the_manifest_is_seen(made_once: Path, data: st.DataObject) -> None:
    path = made_once / "manifest.json"
    content = path.read_bytes()
    place = data.draw(st.integers(0, len(content) - 1))
    byte = data.draw(st.integers(0, 255).filter(lambda byte: byte != content[place]))
    try:
        path.write_bytes(content[:place] + bytes([byte]) + content[place + 1 :])
        try:
            found = manifest.read(made_once)
        except HostError:
            return
        # A blank for a line's end, or a letter written otherwise, is no damage.
        assert found == manifest.read(_copy_with(made_once, content))
    finally:
        path.write_bytes(content)


def _copy_with(folder: Path, content: bytes) -> Path:
    copy = folder.parent / "copy"
    copy.mkdir(exist_ok=True)
    (copy / "manifest.json").write_bytes(content)
    return copy


NAMES = st.text(st.characters(exclude_characters="/\0", exclude_categories=()), min_size=1).filter(
    lambda name: name not in {".", ".."}
)
ENTRIES = st.dictionaries(
    st.lists(NAMES, min_size=1, max_size=3).map("/".join),
    st.one_of(
        st.builds(
            Entry,
            st.just("file"),
            st.integers(0, 0o777),
            st.integers(0),
            st.text("0123456789abcdef"),
        ),
        st.builds(Entry, st.just("link"), target=NAMES),
    ),
)


@given(entries=ENTRIES, upgrade=st.none() | st.builds(Upgrade, NAMES, NAMES))
def test_a_manifest_is_read_as_it_was_written(
    tmp_path_factory: pytest.TempPathFactory, entries: dict[str, Entry], upgrade: Upgrade | None
) -> None:
    folder = tmp_path_factory.mktemp("manifest")
    written = Manifest(
        host="test-host",
        made="2026-01-31T12:00:00Z",
        version="1.2.3",
        revision=None,
        components={"mlflow": "3"},
        database="absent",
        folders=None,
        entries=entries,
        upgrade=upgrade,
    )
    manifest.write(folder, written)
    assert manifest.read(folder) == written


@pytest.mark.parametrize("path", ["/etc/passwd", "../passwd", "a/../../b", "a//b", ""])
def test_a_manifest_that_leads_out_of_the_backup_is_refused(tmp_path: Path, path: str) -> None:
    written = Manifest("test-host", "", "", None, {}, None, None, {path: Entry("file")})
    manifest.write(tmp_path, written)
    with pytest.raises(DamagedBackupError, match="outside"):
        manifest.read(tmp_path)


def test_a_folder_that_is_no_backup_is_refused(tmp_path: Path) -> None:
    with pytest.raises(DamagedBackupError, match=r"no backup: it has no manifest\.json"):
        manifest.read(tmp_path)


def test_a_full_disk_leaves_nothing(host: Host) -> None:
    big = 4 * 1024 * 1024
    with (host.artifacts / "big").open("wb") as file:
        file.truncate(2 * big)

    def back_up() -> None:
        resource.setrlimit(resource.RLIMIT_FSIZE, (big, big))
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        with pytest.raises(
            HostError, match=r"artifacts/big: File too large.*nothing of it is left"
        ):
            create(host)

    assert in_another_process(back_up) == 0
    assert list(host.layout.backups.iterdir()) == []


def test_room_is_looked_for_first(host: Host) -> None:
    with (host.artifacts / "huge").open("wb") as file:
        file.truncate(shutil.disk_usage(host.root).total)  # A hole: it takes no room itself.
    with pytest.raises(HostError, match=r"needs about \d+ MiB .* free some space"):
        create(host)
    assert list(host.layout.backups.iterdir()) == []


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGKILL])
def test_an_interrupted_backup_leaves_nothing_that_looks_like_one(
    host: Host, number: signal.Signals
) -> None:
    seen, never = FORK.Event(), FORK.Event()

    def back_up() -> None:
        signal.signal(signal.SIGINT, signal.default_int_handler)

        class Gate(Progress):
            def doing(self, what: str) -> None:
                if what == "copying artifacts":
                    seen.set()
                    # A signal that comes just before a wait for ever would be noticed after it.
                    while not never.wait(0.05):
                        pass

        with ending_on_sigterm():
            backup.create(
                DEFINITION, host.loaded, host.layout, host.layout.backups / "one", progress=Gate()
            )

    process = FORK.Process(target=back_up)
    process.start()
    assert seen.wait(30)
    assert process.pid is not None
    os.kill(process.pid, number)
    process.join()
    assert process.exitcode != 0
    if number is not signal.SIGKILL:
        assert list(host.layout.backups.iterdir()) == []
    assert backup.backups_in(host.layout.backups, "test-host") == []
    create(host)
    assert [path.name for path in host.layout.backups.iterdir()] == ["one"]


def test_two_at_once_are_refused(host: Host) -> None:
    host.layout.backups.mkdir(parents=True)
    with backup.locked(host.layout.backups), pytest.raises(HostError, match="another backup"):
        create(host)


def test_the_newest_are_kept_of_each_kind(host: Host) -> None:
    for name in ("1", "2", "3"):
        create(host, name)
        create(host, f"{name}-database", with_folders=False)
    removed = backup.prune(DEFINITION, host.layout, keep=2)
    assert {path.name for path in removed} == {"1", "1-database"}
    assert {path.name for path in host.layout.backups.iterdir()} == {
        "2",
        "2-database",
        "3",
        "3-database",
    }


def test_what_an_upgrade_may_need_is_kept_while_its_release_is_there(host: Host) -> None:
    (host.layout.releases / "old").mkdir(parents=True)
    create(host, "1", upgrade=Upgrade("old", "new"))
    for name in ("2", "3"):
        create(host, name)
    assert [path.name for path in backup.prune(DEFINITION, host.layout, keep=1)] == ["2"]
    (host.layout.releases / "old").rmdir()
    assert [path.name for path in backup.prune(DEFINITION, host.layout, keep=1)] == ["1"]


def test_what_is_damaged_or_another_hosts_is_neither_counted_nor_removed(host: Host) -> None:
    for name in ("1", "2"):
        create(host, name)
    (host.layout.backups / "1/manifest.json").write_text("{}")
    (host.layout.backups / "notes").mkdir()
    assert backup.prune(DEFINITION, host.layout, keep=1) == []


def test_no_two_backups_get_one_name(host: Host) -> None:
    first = backup.new_folder(host.layout)
    first.mkdir(parents=True)
    assert backup.new_folder(host.layout) != first
