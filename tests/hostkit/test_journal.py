import json
import logging
import os
import socket
import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hostkit import journal

TEXTS = st.text(st.characters(codec="utf-8"))


def parsed(entry: bytes) -> list[tuple[str, bytes]]:
    """The fields of an entry, as journald reads them."""
    fields = []
    while entry:
        head, _, entry = entry.partition(b"\n")
        name, separator, value = head.partition(b"=")
        if not separator:
            size = int.from_bytes(entry[:8], "little")
            value, entry = entry[8 : 8 + size], entry[8 + size + 1 :]
        fields.append((name.decode(), value))
    return fields


@given(event=st.dictionaries(st.from_regex("[a-z][a-z_]{0,9}", fullmatch=True), TEXTS))
def test_no_value_becomes_a_field_of_its_own(event: dict[str, str]) -> None:
    line = json.dumps(event)
    fields = parsed(journal.entry(line, logging.INFO))
    assert fields[0] == ("MESSAGE", line.encode())
    own = fields[2:]
    assert {name for name, _ in own} <= {name.upper() for name in event}
    for name, value in own:
        assert value.decode() == event[name.lower()]


def test_fields_that_are_the_journals_own_are_not_sent_twice() -> None:
    line = json.dumps(
        {"message": "m", "priority": 0, "unit": "u", "object_pid": 1, "Bad-Name": 1, "_pid": 2}
        | {"request_id": "r-17", "status": 200, "ms": 1.5, "error": None, "exception": []}
    )
    fields = dict(parsed(journal.entry(line, logging.ERROR)))
    assert fields.pop("MESSAGE") == line.encode()
    assert fields == {
        "PRIORITY": b"3",
        "REQUEST_ID": b"r-17",
        "STATUS": b"200",
        "MS": b"1.5",
    }


@pytest.mark.parametrize(
    ("level", "priority"), [(10, b"7"), (20, b"6"), (30, b"4"), (40, b"3"), (50, b"2")]
)
def test_levels_are_syslogs(level: int, priority: bytes) -> None:
    assert dict(parsed(journal.entry("{}", level)))["PRIORITY"] == priority


PROGRAM = """
import os, sys
from hostkit import journal, log
journal.SOCKET = sys.argv[1]
state = os.fstat(2)
os.environ["JOURNAL_STREAM"] = f"{state.st_dev}:{state.st_ino + int(sys.argv[2])}"
log.configure()
import logging
logging.getLogger("kettle").info("boils", extra={"request_id": "r-17", "note": sys.argv[3]})
"""


def logged(path: Path, *, other_stream: bool = False, note: str = "") -> str:
    """What a program writes to standard error."""
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM, str(path), str(int(other_stream)), note],
        env={"PATH": os.environ["PATH"], "PYTHONPATH": os.pathsep.join(sys.path)},
        stderr=subprocess.PIPE,
        text=True,
        check=True,
    )
    return done.stderr


def test_a_service_sends_fields_and_nothing_else(tmp_path: Path) -> None:
    path = tmp_path / "socket"
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as journald:
        journald.bind(str(path))
        assert logged(path) == ""
        fields = dict(parsed(journald.recv(65536)))
    assert fields["REQUEST_ID"] == b"r-17"
    assert json.loads(fields["MESSAGE"])["event"] == "boils"


def test_a_stream_that_leads_elsewhere_gets_the_line(tmp_path: Path) -> None:
    path = tmp_path / "socket"
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as journald:
        journald.bind(str(path))
        assert json.loads(logged(path, other_stream=True))["request_id"] == "r-17"


def test_a_line_that_the_journal_does_not_take_is_not_lost(tmp_path: Path) -> None:
    path = tmp_path / "socket"
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as journald:
        journald.bind(str(path))
        # Larger than a datagram can be.
        assert json.loads(logged(path, note="x" * 120_000))["note"] == "x" * 120_000
