"""docs/security.md names tests that there are, for each of the ten risks and each attack."""

import re
from collections import Counter
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


def attacks() -> dict[str, str]:
    """What stands below each table of attacks' heading."""
    _, _, rest = PAGE.read_text().partition("\n## Attacks\n")
    sections = re.split(r"^### (.*)\n", rest.partition("\n## ")[0], flags=re.MULTILINE)[1:]
    return dict(zip(sections[::2], sections[1::2], strict=True))


def test_every_table_of_attacks_is_printed_by_the_test_that_it_names() -> None:
    for section, text in attacks().items():
        file = re.search(r"`(tests/[\w/]+\.py)`", text)
        assert file, section
        assert f'printed("{section}"' in Path(file[1]).read_text(), section


def test_every_table_that_a_test_prints_is_there() -> None:
    printed = {
        section
        for file in Path("tests").rglob("test_*.py")
        for section in re.findall(r'with printed\("(.*?)"', file.read_text())
    }
    assert printed == attacks().keys()


def test_every_attack_is_there_once_and_says_that_others_were_served() -> None:
    for section, text in attacks().items():
        rows = re.findall(r"^\| (.+?) \| (.+?) \| (.+?) \|$", text, re.MULTILINE)[1:]
        assert rows, section
        assert max(Counter(attack for attack, _, _ in rows).values()) == 1, section
        assert [row for row in rows if "none failed" not in row[2]] == []
