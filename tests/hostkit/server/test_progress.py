import io

import pytest

from hostkit.server import progress
from hostkit.server.progress import Progress, readable


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def told(stream: io.StringIO) -> str:
    with Progress(stream) as shown:
        shown.doing("copying artifacts")
        shown.moved(1_500_000)
        shown.moved(1_500_000)
    return stream.getvalue()


def test_what_is_quick_says_nothing() -> None:
    assert told(io.StringIO()) == ""


def test_a_log_gets_lines_and_not_too_many(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(progress, "SECONDS_OF_SILENCE", 0.0)
    assert told(io.StringIO()) == "copying artifacts\n"


def test_a_terminal_sees_one_line_that_goes_away(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(progress, "SECONDS_OF_SILENCE", 0.0)
    monkeypatch.setattr(progress, "SECONDS_BETWEEN_PICTURES", 0.0)
    over = "\r\x1b[K"
    assert told(Terminal()) == (
        f"{over}copying artifacts{over}copying artifacts (1.5 MB){over}copying artifacts (3.0 MB)"
        f"{over}"
    )


@pytest.mark.parametrize(
    ("size", "text"),
    [(0, "0 bytes"), (999, "999 bytes"), (1000, "1.0 kB"), (2.5e9, "2.5 GB"), (5e15, "5000.0 TB")],
)
def test_sizes_are_readable(size: float, text: str) -> None:
    assert readable(size) == text
