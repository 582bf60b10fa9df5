import hashlib
import re
import shutil
import subprocess
from pathlib import Path

import pytest

from hostkit.errors import HostError
from hostkit.server.checksum import Checksum, verify
from hostkit.server.pex import Pex

OTHER = "0" * 64


@pytest.fixture
def pex(tmp_path: Path) -> Pex:
    path = tmp_path / "kettle_host.pex"
    path.write_bytes(b"a release")
    return Pex(path)


def sums(pex: Pex, content: str) -> str:
    path = pex.path.with_name("SHA256SUMS")
    path.write_text(content)
    return str(path)


def test_the_digits_themselves_will_do_in_any_case(pex: Pex) -> None:
    digits = hashlib.sha256(b"a release").hexdigest()
    for given in (digits, digits.upper()):
        verify(pex, given)
    verify(pex, None)


@pytest.mark.parametrize("options", [[], ["--binary"], ["--tag"]])
def test_so_will_what_sha256sum_writes(pex: Pex, options: list[str]) -> None:
    folder = pex.path.parent
    shutil.copyfile(__file__, folder / "spoon_host.pex")
    for names in (["kettle_host.pex", "spoon_host.pex"], ["./kettle_host.pex"]):
        command = ["sha256sum", *options, *names]
        made = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=True)
        verify(pex, sums(pex, made.stdout))


def test_another_file_is_refused_with_both_digests(pex: Pex) -> None:
    file = sums(pex, f"{'1' * 64}  spoon_host.pex\n{OTHER}  kettle_host.pex\n")
    for given, origin in ((OTHER, "--verify"), (file, f"{file} line 2")):
        with pytest.raises(HostError) as refused:
            verify(pex, given)
        assert str(refused.value).startswith(
            f"{pex.path} is not the release that was asked for: its SHA-256 is {pex.sha256}, and"
            f" {origin} says {OTHER}. Nothing was changed"
        )


@pytest.mark.parametrize(
    "content",
    [
        "",
        f"{OTHER}  another_kettle_host.pex\n",
        f"{OTHER}  kettle_host.pex.old\n",
        f"{OTHER[:-1]}  kettle_host.pex\n",
        f"{OTHER} kettle_host.pex\n",
        f"MD5 (kettle_host.pex) = {OTHER}\n",
    ],
)
def test_a_file_without_a_line_for_it_is_refused(pex: Pex, content: str) -> None:
    with pytest.raises(HostError, match=r"SHA256SUMS has no line for kettle_host.pex: name"):
        Checksum.read(sums(pex, content), "kettle_host.pex")


def test_lines_that_disagree_are_refused(pex: Pex) -> None:
    line = f"{OTHER}  kettle_host.pex\n"
    file = sums(pex, f"{line}{'1' * 64}  old/kettle_host.pex\n")
    with pytest.raises(
        HostError, match=re.escape("several SHA-256 of kettle_host.pex (line 1 and")
    ):
        Checksum.read(file, "kettle_host.pex")
    assert Checksum.read(sums(pex, line * 2), "kettle_host.pex").sha256 == OTHER


def test_what_is_neither_digits_nor_a_file_is_refused(pex: Pex) -> None:
    for given in ("abc", OTHER[:-1], OTHER + "0", str(pex.path.with_name("none"))):
        with pytest.raises(HostError, match="is neither a SHA-256, which has 64"):
            Checksum.read(given, "kettle_host.pex")
    pex.path.write_bytes(b"\xff\xfe")
    for path in (pex.path, pex.path.parent):
        with pytest.raises(HostError, match=r"cannot be read .*: name a file that was made by"):
            Checksum.read(str(path), "kettle_host.pex")


def test_what_changes_after_it_was_checked_is_not_installed(pex: Pex, tmp_path: Path) -> None:
    verify(pex, hashlib.sha256(b"a release").hexdigest())
    assert pex.copy(tmp_path / "copy.pex").path.read_bytes() == b"a release"
    pex.path.write_bytes(b"another release")
    with pytest.raises(HostError, match="changed while it was installed: begin again"):
        pex.copy(tmp_path / "copy.pex")
