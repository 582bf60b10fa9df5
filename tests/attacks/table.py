"""The tables of docs/security.md: each attack, what happened, what honest clients saw."""

import re
import time
from collections.abc import Callable, Collection, Iterator
from contextlib import contextmanager
from dataclasses import astuple, dataclass
from pathlib import Path
from typing import TypeVar

import pytest

from tests.attacks.honest import Honest
from tests.attacks.target import Target

Attacked = TypeVar("Attacked", bound=Target)

HEADINGS = ("attack", "what happened", "what honest clients saw")

_MEASURED = re.compile(r"\d+(?:\.\d+)?(?= (?:s|ms|predictions|calls|answers)\b)")


@dataclass(frozen=True)
class Row:
    """One attack."""

    attack: str
    happened: str
    honest: str


def witnessed(
    name: str, attack: Callable[[Attacked, Honest], str], target: Attacked, honest: Honest
) -> Row:
    """Attacks while an honest client asks.

    Raises `AssertionError` if the client was not served.
    """
    start = time.monotonic()
    return Row(name, attack(target, honest), honest.saw(start))


@contextmanager
def printed(section: str, attacks: Collection[str], config: pytest.Config) -> Iterator[list[Row]]:
    """The rows of a section, printed when the block ends.

    `attacks`: all that the section must have.
    Fails if the page has others, or says something else of one; what was measured may differ.
    """
    rows: list[Row] = []
    yield rows
    capture = config.pluginmanager.getplugin("capturemanager")
    with capture.global_and_fixture_disabled():
        print(f"\n{section}\n{_render(rows)}")  # noqa: T201
    on_page = documented(section)
    assert on_page.keys() == set(attacks), f"'{section}' of docs/security.md has other attacks"
    for row in rows:
        assert _lasting(on_page[row.attack]) == _lasting(row)


def documented(section: str) -> dict[str, Row]:
    """The rows that docs/security.md has in a section, by their attacks."""
    _, _, rest = Path("docs/security.md").read_text().partition(f"### {section}\n")
    table, _, _ = rest.partition("\n#")
    rows = re.findall(r"^\| (.*?) \| (.*?) \| (.*?) \|$", table, re.MULTILINE)
    return {row[0]: Row(*row) for row in rows if row != HEADINGS and set(row[0]) != {"-"}}


def _lasting(row: Row) -> tuple[str, ...]:
    """A row without what is measured anew each time."""
    return tuple(_MEASURED.sub("N", cell) for cell in astuple(row))


def _render(rows: list[Row]) -> str:
    lines = [HEADINGS, tuple("---" for _ in HEADINGS), *map(astuple, rows)]
    return "\n".join(f"| {' | '.join(cells)} |" for cells in lines)
