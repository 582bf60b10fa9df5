"""What systemd would hear, heard by a socket of the test."""

import asyncio
import os
import socket
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pytest

from hostkit import notify, pulse


@pytest.fixture
def systemd(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[socket.socket]:
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as listener:
        listener.bind(str(tmp_path / "notify"))
        listener.settimeout(10)
        monkeypatch.setenv(notify.LISTENER, str(tmp_path / "notify"))
        yield listener


def test_messages_go_in_one_piece(systemd: socket.socket) -> None:
    notify.send(notify.READY, notify.status("serves\niris"))
    assert systemd.recv(1000).decode() == "READY=1\nSTATUS=serves iris"


def test_a_name_without_a_file_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as listener:
        name = f"tripod-test-{os.getpid()}"
        listener.bind(f"\0{name}")
        monkeypatch.setenv(notify.LISTENER, f"@{name}")
        notify.send(notify.STOPPING)
        assert listener.recv(1000) == b"STOPPING=1"


def test_nothing_happens_where_nobody_listens(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.delenv(notify.LISTENER, raising=False)
    notify.send(notify.READY)
    monkeypatch.setenv(notify.LISTENER, str(tmp_path / "gone"))
    notify.send(notify.READY)


def test_a_service_is_ready_when_it_is_well_and_watched_from_its_start(
    systemd: socket.socket, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("WATCHDOG_USEC", "20000")
    answers = iter([None, "first", "second", None, "third"])

    async def look() -> str | None:
        with suppress(StopIteration):
            return next(answers)
        raise asyncio.CancelledError

    with pytest.raises(asyncio.CancelledError):
        asyncio.run(pulse.keep_telling(look))
    assert [systemd.recv(1000).decode() for _ in range(4)] == [
        "WATCHDOG=1",
        "READY=1\nSTATUS=first",
        "WATCHDOG=1\nSTATUS=second",
        "WATCHDOG=1\nSTATUS=third",
    ]


def test_without_a_watchdog_nothing_ends_the_service(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("WATCHDOG_USEC", raising=False)
    assert notify.watchdog_seconds() == float("inf")
    monkeypatch.setenv("WATCHDOG_USEC", "30000000")
    assert notify.watchdog_seconds() == 30
