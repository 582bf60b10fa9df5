"""The audit lines of commands: who changed what on this machine."""

import json
import os
import socket
from pathlib import Path

import pytest

from hostkit import audit, journal
from tests.hostkit.test_journal import parsed


@pytest.fixture
def no_journal(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Where a journal would be asked."""
    path = tmp_path / "journal"
    monkeypatch.setattr(journal, "SOCKET", str(path))
    return path


def test_a_command_is_audited_in_the_journal_under_the_name_of_its_host(no_journal: Path) -> None:
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as listener:
        listener.bind(str(no_journal))
        audit.note_command("api-host", "key.add", "key:shop")
        fields = dict(parsed(listener.recv(65536)))
    assert fields["SYSLOG_IDENTIFIER"] == b"api-host"
    assert (fields["ACTION"], fields["ON"]) == (b"key.add", b"key:shop")
    assert fields["WHO"] == audit.user().encode()
    line = json.loads(fields["MESSAGE"])
    assert (line["event"], line["allowed"], line["address"]) == ("audit", True, None)


@pytest.mark.usefixtures("no_journal")
def test_without_a_journal_the_line_is_on_standard_error(
    capsys: pytest.CaptureFixture[str],
) -> None:
    audit.note_command("api-host", "key.add", "key:shop", allowed=False)
    said = capsys.readouterr()
    assert json.loads(said.err)["allowed"] is False
    assert not said.out


def test_behind_sudo_it_is_whoever_asked_for_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SUDO_USER", "alice")
    for euid, is_alice in ((0, True), (os.getuid() or 12345, False)):
        monkeypatch.setattr(os, "geteuid", lambda euid=euid: euid)
        # Anybody may set a variable: it counts for root alone.
        assert (audit.user() == "os:alice") is is_alice
