"""docs/security.md names tests that there are, for each of the ten risks."""

import re
from pathlib import Path

PAGE = Path("docs/security.md")
RISKS = [f"API{number}" for number in range(1, 11)]


def risks() -> dict[str, list[tuple[str, str]]]:
    """The tests of each risk: file and name."""
    _, _, rest = PAGE.read_text().partition("## The OWASP API Security Top 10 (2023)\n")
    rows = re.findall(r"^\| (API\d+) .*?\| .*?\| ?(.*?) ?\|$", rest, re.MULTILINE)
    return {risk: re.findall(r"`(tests/[\w/]+\.py)::(\w+)`", tests) for risk, tests in rows}


def test_every_risk_has_a_row() -> None:
    assert list(risks()) == RISKS


def test_every_risk_is_proven() -> None:
    assert [risk for risk, tests in risks().items() if not tests] == []


def test_every_test_that_is_named_is_there() -> None:
    for file, name in re.findall(r"`(tests/[\w/]+\.py)::(\w+)`", PAGE.read_text()):
        assert re.search(rf"^(async )?def {name}\(", Path(file).read_text(), re.MULTILINE), name


def test_every_promise_names_a_test() -> None:
    _, _, promises = PAGE.read_text().partition("## Promises and their tests\n")
    rows = [line for line in promises.splitlines() if line.startswith("| ")][1:]
    assert rows
    assert [row for row in rows if "::test_" not in row] == []
