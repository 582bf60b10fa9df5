import faulthandler
import os
import signal
import time

import pytest

from airflow_host.training.confinement import ConfinedError, confined
from airflow_host.training.errors import BadData

MIB = 1024 * 1024


def test_what_the_work_gives_comes_back() -> None:
    assert confined(lambda: {"a": 1}, memory_bytes=256 * MIB, seconds=60) == {"a": 1}


def test_so_does_what_it_raises() -> None:
    def fail() -> None:
        raise BadData("a sentence")

    with pytest.raises(BadData, match=r"^a sentence$"):
        confined(fail, memory_bytes=256 * MIB, seconds=60)


def test_it_takes_no_more_memory_than_it_may() -> None:
    assert len(confined(lambda: bytes(8 * MIB), memory_bytes=256 * MIB, seconds=60)) == 8 * MIB
    with pytest.raises(ConfinedError):
        confined(lambda: len(bytearray(512 * MIB)), memory_bytes=256 * MIB, seconds=60)


def test_it_takes_no_more_time_than_it_may() -> None:
    def work() -> None:
        while True:
            pass

    with pytest.raises(ConfinedError):
        confined(work, memory_bytes=256 * MIB, seconds=0.5)


@pytest.mark.parametrize("number", [signal.SIGSEGV, signal.SIGABRT, signal.SIGKILL])
def test_a_crash_is_told(number: signal.Signals) -> None:
    def crash() -> None:
        faulthandler.disable()  # pytest's: a log that tells of this crash hides another one.
        os.kill(os.getpid(), number)

    with pytest.raises(ConfinedError):
        confined(crash, memory_bytes=256 * MIB, seconds=60)


def test_nothing_is_left_of_it_where_the_waiting_is_ended() -> None:
    def interrupt(*_arguments: object) -> None:
        raise TimeoutError

    before = signal.signal(signal.SIGALRM, interrupt)
    try:
        signal.setitimer(signal.ITIMER_REAL, 0.2)
        with pytest.raises(TimeoutError):
            confined(lambda: time.sleep(3600), memory_bytes=256 * MIB, seconds=60)
    finally:
        signal.signal(signal.SIGALRM, before)
    with pytest.raises(ChildProcessError):
        os.waitpid(-1, os.WNOHANG)
