import http.server
import json
import threading
import zipfile
from collections.abc import Iterator
from datetime import UTC, datetime
from functools import partial
from pathlib import Path

import pytest

from lockfiles import (
    LockError,
    Resolve,
    check,
    cutoff_at,
    cutoff_of,
    find_addresses,
    lock,
    read_resolves,
)

LOCKFILE = """\
# What pip would call https://example.com is a comment.
click==8.5.1 \\
    --hash=sha256:0123456789abcdef \\
    --hash=sha256:fedcba9876543210
colorama==0.4.6 ; sys_platform == 'win32' \\
    --hash=sha256:0123456789abcdef
"""


def test_a_resolve_is_locked_with_what_hostkit_imports() -> None:
    (api,) = read_resolves('[python.resolves]\napi = "3rdparty/api/lock.txt"')
    assert api.name == "api"
    assert [str(path) for path in api.requirements] == [
        "3rdparty/hostkit/requirements.txt",
        "3rdparty/api/requirements.txt",
    ]
    assert str(api.lockfile) == "3rdparty/api/lock.txt"


def test_tools_are_locked_by_themselves() -> None:
    (tools,) = read_resolves('[python.resolves]\ntools = "3rdparty/tools/lock.txt"')
    assert [str(path) for path in tools.requirements] == ["3rdparty/tools/requirements.txt"]


def test_versions_and_hashes_are_no_addresses() -> None:
    assert find_addresses(LOCKFILE) == []


@pytest.mark.parametrize(
    "line",
    [
        "--index-url https://mirror.example/simple",
        "-i https://mirror.example/simple",
        "--find-links /srv/wheels",
        "-e ./somewhere",
        "click @ https://mirror.example/click.tar.gz",
        "click @ file:///srv/wheels/click.tar.gz",
        "click==8.5.1 --find-links /srv/wheels",
        "git+ssh://git@example.com/click",
    ],
)
def test_addresses_are_found(line: str) -> None:
    assert find_addresses(f"{LOCKFILE}{line}\n") == [line]


class Index(http.server.SimpleHTTPRequestHandler):
    """A package index below a folder, as PyPI answers."""

    def guess_type(self, _: object) -> str:
        """What uv asks for."""
        return "application/vnd.pypi.simple.v1+json"

    def log_message(self, *_: object) -> None:
        """Says nothing."""


@pytest.fixture
def resolve(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Resolve]:
    """A resolve that wants `kettle`, of an index with its releases of 1 March and of 20 March."""
    files = []
    for version, day in (("1.0", 1), ("1.1", 20)):
        wheel = tmp_path / f"kettle-{version}-py3-none-any.whl"
        with zipfile.ZipFile(wheel, "w") as archive:
            folder = f"kettle-{version}.dist-info"
            metadata = f"Metadata-Version: 2.1\nName: kettle\nVersion: {version}\n"
            archive.writestr(f"{folder}/METADATA", metadata)
            archive.writestr(f"{folder}/WHEEL", "Wheel-Version: 1.0\nTag: py3-none-any\n")
            archive.writestr(f"{folder}/RECORD", "")
        digest = f"{day:064}"
        moment = f"2026-03-{day:02}T12:00:00Z"
        file = {"filename": wheel.name, "url": f"/{wheel.name}", "hashes": {"sha256": digest}}
        files.append({**file, "upload-time": moment})
    (tmp_path / "simple/kettle").mkdir(parents=True)
    page = {"meta": {"api-version": "1.1"}, "name": "kettle", "files": files}
    (tmp_path / "simple/kettle/index.html").write_text(json.dumps(page))
    (tmp_path / "requirements.txt").write_text("kettle\n")
    server = http.server.ThreadingHTTPServer(
        ("127.0.0.1", 0), partial(Index, directory=str(tmp_path))
    )
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    address = f"http://127.0.0.1:{server.server_port}/simple"
    monkeypatch.setenv("UV_DEFAULT_INDEX", address)
    monkeypatch.setenv("UV_CACHE_DIR", str(tmp_path / "cache"))
    yield Resolve("tea", (tmp_path / "requirements.txt",), tmp_path / "lock.txt")
    server.shutdown()
    thread.join()
    server.server_close()


def locked(version: str, cutoff: str) -> str:
    digest = {"1.0": 1, "1.1": 20}[version]
    line = f"# No release here is younger than {cutoff}.\n"
    return f"{line}kettle=={version} \\\n    --hash=sha256:{digest:064}\n"


def on(month: int, day: int, days: int) -> str:
    """The moment that an update on that day goes by."""
    return cutoff_at(datetime(2026, month, day, 12, 30, tzinfo=UTC), days)


def test_no_release_is_younger_than_the_days_that_are_asked_for(resolve: Resolve) -> None:
    assert lock(resolve, on(3, 25, 7)) == []
    assert resolve.lockfile.read_text() == locked("1.0", "2026-03-18T12:30:00Z")
    assert lock(resolve, on(3, 25, 3), upgrade=True) == []
    assert resolve.lockfile.read_text() == locked("1.1", "2026-03-22T12:30:00Z")


def test_a_release_that_is_there_already_goes_when_it_is_too_young(resolve: Resolve) -> None:
    lock(resolve, on(3, 25, 0))
    assert "kettle==1.1" in resolve.lockfile.read_text()
    lock(resolve, on(3, 25, 7))
    assert "kettle==1.0" in resolve.lockfile.read_text()


def test_a_lockfile_stays_as_it_is_while_nothing_is_to_change(resolve: Resolve) -> None:
    lock(resolve, on(3, 25, 7))
    before = resolve.lockfile.read_text()
    assert lock(resolve, on(12, 24, 7)) == []
    assert resolve.lockfile.read_text() == before


def test_a_check_goes_by_the_lockfile_and_not_by_the_day(resolve: Resolve) -> None:
    lock(resolve, on(3, 25, 7))
    assert check(resolve) == []
    resolve.lockfile.write_text(locked("1.1", "2026-03-18T12:30:00Z"))
    wrong = check(resolve)
    assert "does not answer its requirements" in wrong[0]
    assert "+kettle==1.0 \\" in wrong
    resolve.lockfile.write_text(locked("1.1", "2026-03-22T12:30:00Z"))
    assert check(resolve) == []


def test_a_lockfile_that_names_no_moment_is_refused_and_gets_one(resolve: Resolve) -> None:
    resolve.lockfile.write_text(locked("1.0", "x").partition("\n")[2])
    assert check(resolve) == [
        f"{resolve.lockfile}: does not say how old its releases are; run ./pants lock"
    ]
    assert lock(resolve, on(3, 25, 7)) == []
    assert cutoff_of(resolve.lockfile.read_text()) == "2026-03-18T12:30:00Z"


def test_a_requirement_that_only_a_young_release_answers_is_an_error(resolve: Resolve) -> None:
    resolve.requirements[0].write_text("kettle==1.1\n")
    with pytest.raises(LockError, match=r"older than 2026-03-18T12:30:00Z.* --min-age DAYS"):
        lock(resolve, on(3, 25, 7))
    assert not resolve.lockfile.exists()


@pytest.mark.parametrize("name", ["airflow", "api", "dev", "mlflow", "pytest", "tools"])
def test_every_committed_lockfile_says_how_old_its_releases_are(name: str) -> None:
    cutoff = cutoff_of(Path(f"3rdparty/{name}/lock.txt").read_text())
    assert cutoff is not None
    assert datetime.fromisoformat(cutoff) < datetime.now(UTC)
