"""What the commands make is what OpenSSL accepts, for these names and no others."""

import ipaddress
import json
import stat
import subprocess
import tempfile
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from pathlib import Path

import click
import pytest
from click.testing import CliRunner, Result
from hypothesis import given, settings
from hypothesis import strategies as st

from hostkit.cli import HostGroup
from hostkit.errors import HostError
from hostkit.tls import bundles
from hostkit.tls.authority import Authority
from hostkit.tls.bundles import Bundle
from hostkit.tls.cli import add_commands
from hostkit.tls.names import read_names, texts_of
from tests.lacks import program

NOW = datetime.now(UTC)
DAYS = timedelta(days=90)
LABELS = st.from_regex(r"[a-z]([a-z0-9-]{0,20}[a-z0-9])?", fullmatch=True)
NAMES = st.lists(LABELS, min_size=1, max_size=4).map(".".join)
ADDRESSES = st.ip_addresses().map(str)


@click.group(cls=HostGroup)
def main() -> None:
    """A host."""


add_commands(main)


def run(*arguments: str | Path) -> Result:
    return CliRunner().invoke(main, ["tls", *map(str, arguments)])


def verified(ca: Path, file: Path, *options: str) -> bool:
    command = [program("openssl", "openssl"), "verify", "-x509_strict", "-CAfile", str(ca)]
    done = subprocess.run([*command, *options, str(file)], check=False, capture_output=True)
    return done.returncode == 0


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    Authority.make(tmp_path / "ca", (), NOW)
    return tmp_path / "ca"


@settings(max_examples=25, deadline=None)
@given(names=st.lists(NAMES | ADDRESSES, min_size=1, max_size=4, unique=True))
def test_openssl_accepts_a_certificate_for_each_of_its_names_as_server_and_as_client(
    names: list[str],
) -> None:
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place)
        Authority.make(folder, (), NOW)
        bundle, made = bundles.issue(folder, names, DAYS, NOW)
        assert made
        assert texts_of(bundle.names) == texts_of(read_names(names))
        ca = folder / "ca.pem"
        for purpose in ("sslserver", "sslclient"):
            assert verified(ca, bundle.file, "-purpose", purpose)
        for name in names:
            kind = "-verify_hostname" if not _is_address(name) else "-verify_ip"
            assert verified(ca, bundle.file, kind, name)
        assert not verified(ca, bundle.file, "-verify_hostname", "other.example")
        assert stat.S_IMODE(bundle.file.stat().st_mode) == 0o600


def _is_address(text: str) -> bool:
    try:
        ipaddress.ip_address(text)
    except ValueError:
        return False
    return True


@given(text=st.text(max_size=20))
def test_a_name_never_leads_out_of_the_folder(text: str) -> None:
    try:
        (name,) = texts_of(read_names([text]))
    except HostError:
        return
    assert texts_of(read_names([name])) == (name,)
    assert not set(name) & set("/\n \0")


@pytest.mark.parametrize("text", ["", ".", "..", "a/b", "10.0.0.256", "*.example.com", "a b", "ä"])
def test_what_looks_like_a_name_and_is_none(text: str) -> None:
    with pytest.raises(HostError, match="no name and no address"):
        read_names([text])


@pytest.mark.parametrize(
    ("only", "inside", "outside"),
    [
        (("example.com",), ["a.example.com"], ["b.example.org", "10.0.0.1", "fd00::1"]),
        (("10.0.0.0/24",), ["10.0.0.7"], ["10.0.1.7", "fd00::1", "a.example.com"]),
        (("fd00::/8", "example.com"), ["fd00::1", "example.com"], ["::1", "10.0.0.1", "com"]),
    ],
)
def test_a_ca_for_some_names_is_believed_for_no_others(
    tmp_path: Path, only: tuple[str, ...], inside: list[str], outside: list[str]
) -> None:
    Authority.make(tmp_path, only, NOW)
    for name in inside:
        bundle, _ = bundles.issue(tmp_path, [name], DAYS, NOW)
        assert verified(tmp_path / "ca.pem", bundle.file), name
    for name in outside:
        stolen = tmp_path / "stolen.pem"
        stolen.write_text(Authority.open(tmp_path).issue(read_names([name]), DAYS, NOW))
        assert not verified(tmp_path / "ca.pem", stolen), name
        with pytest.raises(HostError, match=f"may not sign for {name}, only for .*{only[-1]}"):
            bundles.issue(tmp_path, [inside[0], name], DAYS, NOW)
    assert len(bundles.issued(tmp_path)) == len(inside)


def test_a_ca_is_made_once_and_its_key_is_its_owners(tmp_path: Path) -> None:
    folder = tmp_path / "new" / "ca"
    assert "was made" in run("ca", "--folder", folder).output
    before = {file.name: file.read_bytes() for file in folder.iterdir()}
    assert stat.S_IMODE((folder / "ca.key").stat().st_mode) == 0o600
    assert "was there already" in run("ca", "--folder", folder).output
    assert {file.name: file.read_bytes() for file in folder.iterdir()} == before
    other = run("ca", "--folder", folder, "--only", "example.com")
    assert other.exit_code == 1
    assert "make another one in another folder" in other.output
    (folder / "ca.key").unlink()
    assert "has lost its key" in run("ca", "--folder", folder).output
    assert not (folder / "ca.key").exists()


def test_two_who_make_a_ca_at_once_get_the_same(tmp_path: Path) -> None:
    with ThreadPoolExecutor(8) as threads:
        made = [threads.submit(Authority.make, tmp_path, (), NOW) for _ in range(8)]
    assert len({each.result().certificate.serial_number for each in made}) == 1


def test_to_issue_again_changes_nothing_unless_the_names_do(folder: Path) -> None:
    first, _ = bundles.issue(folder, ["mlflow", "10.0.0.2"], DAYS, NOW)
    content = first.file.read_bytes()
    _, made = bundles.issue(folder, ["MLflow.", "10.0.0.2"], DAYS, NOW)
    assert not made
    assert first.file.read_bytes() == content
    second, made = bundles.issue(folder, ["mlflow", "10.0.0.3"], DAYS, NOW)
    assert made
    assert texts_of(second.names) == ("mlflow", "10.0.0.3")


def test_renewal_waits_until_a_third_is_left(folder: Path) -> None:
    names = ["mlflow", "fd00::2"]
    before, _ = bundles.issue(folder, names, DAYS, NOW)
    ((_, made),) = bundles.renew(folder, [], NOW + timedelta(days=59))
    assert not made
    later = NOW + timedelta(days=61)
    ((after, made),) = bundles.renew(folder, [], later)
    assert made
    assert (after.file, after.names) == (before.file, before.names)
    assert after.certificate.public_key() != before.certificate.public_key()
    assert abs(after.life.end - later - DAYS) < timedelta(hours=2)
    assert verified(folder / "ca.pem", after.file, "-attime", str(int(later.timestamp())))
    ((_, made),) = bundles.renew(folder, ["mlflow"], later, at_once=True)
    assert made


def test_a_broken_file_does_not_keep_the_others_from_being_renewed(folder: Path) -> None:
    mlflow, _ = bundles.issue(folder, ["mlflow"], DAYS, NOW)
    (folder / "issued/api.pem").write_text("nothing")
    with pytest.raises(HostError, match=r"api\.pem holds no certificate"):
        bundles.renew(folder, [], NOW + DAYS)
    assert Bundle.read(mlflow.file).certificate != mlflow.certificate


def test_a_certificate_of_another_ca_is_due(folder: Path, tmp_path: Path) -> None:
    bundles.issue(folder, ["mlflow"], DAYS, NOW)
    Authority.make(tmp_path / "other", (), NOW)
    (folder / "issued").rename(tmp_path / "other/issued")
    ((_, made),) = bundles.renew(tmp_path / "other", [], NOW)
    assert made


def test_nothing_outlives_its_ca(folder: Path) -> None:
    end = Authority.open(folder).certificate.not_valid_after_utc
    bundle, _ = bundles.issue(folder, ["mlflow"], DAYS, end - timedelta(days=1))
    assert bundle.life.end == end
    with pytest.raises(HostError, match="the CA ended on"):
        bundles.renew(folder, [], end)


def test_the_list_tells_machines_of_the_ca_and_what_it_issued(folder: Path) -> None:
    assert run("issue", "mlflow", "10.0.0.2", "--ca", folder, "--days", "3").exit_code == 0
    documents = json.loads(run("list", "--ca", folder, "--json").output)
    assert [document["names"] for document in documents] == [[], ["mlflow", "10.0.0.2"]]
    assert [document["due"] for document in documents] == [False, False]
    assert "issued/mlflow.pem: for mlflow, 10.0.0.2, until" in run("list", "--ca", folder).output


@pytest.mark.parametrize("command", [("issue", "mlflow"), ("renew",), ("list",)])
def test_without_a_ca_one_is_told_how_to_make_it(tmp_path: Path, command: tuple[str, ...]) -> None:
    done = run(*command, "--ca", tmp_path / "none")
    assert done.exit_code == 1
    assert f"'tls ca --folder {tmp_path}/none' makes one" in done.output
