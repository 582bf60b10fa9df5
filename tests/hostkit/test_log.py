import json
import os
import pty
import signal
import subprocess
import sys
import textwrap
from datetime import UTC, datetime, timedelta
from typing import Any
from unittest.mock import patch

from hypothesis import given
from hypothesis import strategies as st

from hostkit import log

ENVIRONMENT = {"PATH": os.environ["PATH"], "PYTHONPATH": os.pathsep.join(sys.path)}
PREPARE = """
import logging, warnings
import structlog
from hostkit import log
log.configure()
"""


def run(program: str) -> list[dict[str, Any]]:
    """The events that a program logs. It has a process of its own: logging is global."""
    result = subprocess.run(
        [sys.executable, "-c", PREPARE + textwrap.dedent(program)],
        env=ENVIRONMENT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert result.stdout == ""
    return [json.loads(line) for line in result.stderr.splitlines()]


def test_an_event_is_one_line_of_json_wherever_it_comes_from() -> None:
    ours, theirs = run("""
        structlog.get_logger("kettle").info("boils", litres=1.5, note="one\\ntwo é")
        logging.getLogger("kettle").info("%s at %d", "boils", 100, extra={"litres": 1.5})
        """)
    for event in (ours, theirs):
        assert event.pop("timestamp").endswith("Z")
        assert event.pop("litres") == 1.5
    assert ours == {"event": "boils", "level": "info", "logger": "kettle", "note": "one\ntwo é"}
    assert theirs == {"event": "boils at 100", "level": "info", "logger": "kettle"}


def test_the_request_id_is_in_every_line() -> None:
    events = run("""
        with structlog.contextvars.bound_contextvars(request_id="r-17"):
            structlog.get_logger("kettle").info("boils")
            logging.getLogger("kettle").info("boils")
        logging.getLogger("kettle").info("boils")
        """)
    assert [event.get("request_id") for event in events] == ["r-17", "r-17", None]


def test_debug_is_left_out_and_a_warning_is_an_event() -> None:
    (event,) = run("""
        structlog.get_logger("kettle").debug("warm")
        logging.getLogger("kettle").debug("warm")
        warnings.warn("low water")
        """)
    assert "low water" in event["event"]
    assert (event["level"], event["logger"]) == ("warning", "py.warnings")


def test_a_traceback_is_data_without_local_variables() -> None:
    caught, foreign, crash = run("""
        def pour():
            password = "s3" + "cret"
            raise ValueError("spilled")
        try:
            pour()
        except ValueError:
            structlog.get_logger("kettle").exception("no tea")
            logging.getLogger("kettle").exception("no tea")
        pour()
        """)
    for event in (caught, foreign, crash):
        assert event["exception"][0]["exc_value"] == "spilled"
        assert event["exception"][0]["frames"][-1]["name"] == "pour"
        assert "s3cret" not in str(event)
    assert (crash["event"], crash["level"], crash["logger"]) == ("spilled", "critical", "crash")


def test_a_person_at_a_terminal_gets_text() -> None:
    controller, terminal = pty.openpty()
    program = f"{PREPARE}\nlogging.getLogger('kettle').info('boils')"
    subprocess.run([sys.executable, "-c", program], env=ENVIRONMENT, stderr=terminal, check=True)
    shown = os.read(controller, 10_000).decode()
    os.close(controller)
    os.close(terminal)
    assert "boils" in shown
    assert "{" not in shown


def test_a_crash_of_native_code_leaves_the_stack() -> None:
    crash = "import os, signal\ndef boil():\n    os.kill(os.getpid(), signal.SIGSEGV)\nboil()"
    program = f"{PREPARE}\n{crash}"
    done = subprocess.run(
        [sys.executable, "-c", program],
        env=ENVIRONMENT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == -signal.SIGSEGV
    assert "in boil" in done.stderr


@given(seconds=st.integers(0, 2**32), microseconds=st.integers(0, 999_999))
def test_a_timestamp_is_the_moment_to_a_microsecond(seconds: int, microseconds: int) -> None:
    moment = seconds * log.NANOSECONDS + microseconds * 1000
    with patch("time.time_ns", return_value=moment):
        event = log.stamp(None, "info", {})
    assert event["timestamp"].endswith("Z")
    read = datetime.fromisoformat(event["timestamp"])
    assert (read - datetime.fromtimestamp(0, UTC)) == timedelta(
        seconds=seconds, microseconds=microseconds
    )
