"""API keys: their text, their file, and the commands that change it."""

import json
import os
import re
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, suppress
from datetime import timedelta
from pathlib import Path

import httpx
import pytest
from click.testing import CliRunner, Result
from hypothesis import given
from hypothesis import strategies as st

from api_host.auth import keys
from api_host.auth.caller import Access, Rates
from api_host.auth.key_file import check
from api_host.auth.keys import TEXT, Key, Keyring, Shown, SpoiledKeysError
from api_host.auth.known import KnownKeys
from api_host.cli import main
from api_host.definition import DEFINITION
from api_host.settings import ApiSettings
from hostkit.doctor.steps import Fault
from hostkit.settings import Loaded, load
from tests.api_host.registry_server import RegistryServer
from tests.api_host.test_serve import free_port, serving, until_well

SECONDS_UNTIL_KNOWN = 2.0


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "keys.json"


def run(file: Path, *arguments: str) -> Result:
    """What the command `keys` says."""
    return CliRunner().invoke(main, ["keys", *arguments], env={"API_KEYS_FILE": str(file)})


def made(file: Path, *arguments: str) -> str:
    """The key that a command prints."""
    done = run(file, *arguments)
    assert done.exit_code == 0, done.stderr
    text = done.stdout.removesuffix("\n")
    assert TEXT.fullmatch(text), done.stdout
    return text


def test_a_key_is_shown_once_alone_and_only_its_hash_is_kept(file: Path) -> None:
    path = os.pathsep.join(map(os.path.abspath, sys.path))
    done = subprocess.run(
        [sys.executable, "-c", "from api_host.cli import main; main()", "keys", "add", "shop"],
        env={"PYTHONPATH": path, "API_KEYS_FILE": str(file)},
        capture_output=True,
        text=True,
        check=True,
    )
    text = done.stdout.removesuffix("\n")
    assert TEXT.fullmatch(text), done.stdout
    assert text not in done.stderr
    assert text.rpartition("_")[2] not in file.read_text()
    assert text not in run(file, "list", "--json").stdout
    assert file.stat().st_mode & 0o777 == 0o640
    assert KnownKeys(file).find(text) is not None


def test_a_key_is_as_it_was_asked_for(file: Path) -> None:
    arguments = ["--access", "predict", "--access", "train", "--model", "iris", "--expires", "90d"]
    arguments += ["--requests-per-second", "50", "--rows-per-second", "1000"]
    arguments += ["--concurrent", "4", "--trainings-per-hour", "2"]
    text = made(file, "add", "shop", *arguments)
    caller = KnownKeys(file).find(text)
    assert caller is not None
    assert caller.access == {Access.PREDICT, Access.TRAIN}
    assert caller.models == frozenset({"iris"})
    assert caller.rates == Rates(50, 1000, 4, 2)
    (listed,) = json.loads(run(file, "list", "--json").stdout)
    assert listed["name"] == "shop"
    assert listed["id"] in text
    assert listed["expires"] > keys.now().isoformat()
    assert "sha256" not in json.dumps(listed)
    assert re.search("shop .* predict,train +iris", run(file, "list").stdout)


def test_a_rotated_key_leaves_the_old_one_as_long_as_was_said(file: Path) -> None:
    first = made(file, "add", "shop")
    second = made(file, "rotate", "shop", "--keep-old", "1h")
    third = made(file, "rotate", "shop")
    known = KnownKeys(file)
    assert [known.find(text) is not None for text in (first, second, third)] == [False, False, True]
    fourth = made(file, "rotate", "shop", "--keep-old", "1h")
    known = KnownKeys(file)
    assert [known.find(text) is not None for text in (third, fourth)] == [True, True]


def test_a_revoked_key_is_gone(file: Path) -> None:
    text = made(file, "add", "shop")
    assert run(file, "revoke", "shop").exit_code == 0
    assert KnownKeys(file).find(text) is None
    assert "api-host keys add" in run(file, "list").stderr


def test_each_command_leaves_an_audit_line(file: Path) -> None:
    for command in ("add", "rotate", "revoke"):
        done = run(file, command, "shop")
        if Path("/run/systemd/journal/socket").exists():
            pytest.skip("there is a journal: the line is in there")
        (line,) = [line for line in done.stderr.splitlines() if line.startswith("{")]
        audited = json.loads(line)
        assert audited["event"] == "audit"
        assert (audited["action"], audited["on"]) == (f"key.{command}", "key:shop")
        assert audited["who"].startswith("os:")
        assert "tripod_" not in line


@pytest.mark.parametrize(
    ("arguments", "word"),
    [
        (["add", "../x"], "no name"),
        (["add", "-x"], "No such option"),
        (["add", "shop"], "already"),
        (["add", "x", "--expires", "soon"], "no end"),
        (["add", "x", "--expires", "2001-01-01"], "over already"),
        (["add", "x", "--access", "root"], "root"),
        (["add", "x", "--requests-per-second", "0"], "0"),
        (["rotate", "none"], "no key none"),
        (["rotate", "shop", "--keep-old", "x"], "no span"),
        (["revoke", "none"], "its keys are shop"),
    ],
)
def test_a_mistake_is_a_sentence(file: Path, arguments: list[str], word: str) -> None:
    made(file, "add", "shop")
    before = file.read_bytes()
    done = run(file, *arguments)
    assert done.exit_code != 0
    assert word in done.stderr
    assert "Traceback" not in done.stderr
    assert not done.stdout
    assert file.read_bytes() == before


def test_a_spoiled_file_is_not_written_over(file: Path) -> None:
    file.write_text("{")
    done = run(file, "add", "shop")
    assert done.exit_code == 1
    assert str(file) in done.stderr
    assert file.read_text() == "{"
    assert "API_KEYS_FILE" in run(file.parent / "none/keys.json", "add", "shop").stderr


def test_keys_that_are_made_at_once_are_all_there(file: Path) -> None:
    def add(number: int) -> None:
        _, text = keys.new_text()
        shown = Shown(f"{number:012x}", keys.digest(text))
        Keyring(file).add(Key(name=f"k{number}", access=(), created=keys.now(), current=shown))

    with ThreadPoolExecutor(8) as pool:
        list(pool.map(add, range(40)))
    assert {key.name for key in Keyring(file).all()} == {f"k{number}" for number in range(40)}


def test_every_worker_refuses_a_revoked_key_within_two_seconds_without_a_restart(
    registry: RegistryServer, tmp_path: Path, file: Path
) -> None:
    text = made(file, "add", "shop")
    headers = {"X-API-Key": text}
    with ExitStack() as stack:
        started = []
        for folder in (tmp_path / "one", tmp_path / "two"):
            folder.mkdir()
            port = free_port()
            process = stack.enter_context(
                serving(registry, folder, port, API_AUTH="yes", API_KEYS_FILE=str(file))
            )
            api = stack.enter_context(httpx.Client(base_url=f"http://127.0.0.1:{port}"))
            started.append((api, process))
        for api, process in started:
            until_well(api, process, "/livez")
        workers = [api for api, _ in started]
        assert all(api.get("/version", headers=headers).is_success for api in workers)
        assert run(file, "revoke", "shop").exit_code == 0
        revoked = time.monotonic()
        for api in workers:
            began = time.monotonic()
            while api.get("/version", headers=headers).is_success:
                assert began < revoked + SECONDS_UNTIL_KNOWN
                began = time.monotonic()
    log = (tmp_path / "one/log").read_text()
    assert text.rpartition("_")[2] not in log
    assert '"event":"auth"' in log


@given(st.data())
def test_a_key_that_was_changed_anywhere_is_no_key(data: st.DataObject) -> None:
    number, text = keys.new_text()
    assert TEXT.fullmatch(text)
    assert text.split("_")[1] == number
    at = data.draw(st.integers(0, len(text) - 1))
    other = data.draw(st.characters().filter(lambda each: each != text[at]))
    changed = text[:at] + other + text[at + 1 :]
    assert keys.digest(changed.encode(errors="replace").decode()) != keys.digest(text)


@given(st.binary(max_size=200) | st.text(max_size=200).map(str.encode))
def test_whatever_the_file_holds_it_is_keys_or_named_as_spoiled(content: bytes) -> None:
    with suppress(SpoiledKeysError):
        assert keys.parse(Path("/keys.json"), content) == ()


def loaded(file: Path, **variables: str) -> Loaded[ApiSettings]:
    return load(ApiSettings, environment={"API_KEYS_FILE": str(file), **variables})


def test_the_doctor_says_who_can_ask(file: Path) -> None:
    assert check(loaded(file)).startswith("off")
    assert "everybody" in check(loaded(file, API_AUTH="no", API_HOST="0.0.0.0"))
    locked = loaded(file, API_AUTH="yes")
    with pytest.raises(Fault, match="nobody can ask"):
        check(locked)
    made(file, "add", "shop", "--expires", "15d")
    assert check(locked) == "1 key"
    made(file, "add", "late", "--expires", "13d")
    with pytest.raises(Fault, match="the key of late expires at"):
        check(locked)
    file.write_text("{")
    with pytest.raises(Fault, match="no file of keys"):
        check(locked)


def test_an_install_says_that_a_key_is_needed(file: Path) -> None:
    locked = loaded(file, API_AUTH="yes")
    assert DEFINITION.to_run(locked) == ("api-host keys add NAME",)
    assert DEFINITION.to_run(loaded(file)) == ()
    made(file, "add", "shop")
    assert DEFINITION.to_run(locked) == ()


def test_an_old_text_does_not_outlive_its_own_end(file: Path) -> None:
    end = keys.now() + timedelta(minutes=1)
    shown = Shown("0" * 12, "0" * 64, end)
    ring = Keyring(file)
    ring.add(Key(name="shop", access=(), created=keys.now(), current=shown))
    key = ring.rotate("shop", Shown("1" * 12, "1" * 64), keep=timedelta(hours=1), moment=keys.now())
    assert key.before is not None
    assert key.before.expires == end
