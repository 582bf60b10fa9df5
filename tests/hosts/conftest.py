"""Labs with three hosts, bare and with Tripod on them, for all tests of this folder."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from lab.fixtures import deployment, fit_machine, lab, pexes, progress
from tests.attacks.smuggling import SECRET
from tests.hosts.fault_table import Row, render
from tests.hosts.service import Service

__all__ = ["deployment", "fault_table", "fit_machine", "lab", "pexes", "progress"]


@pytest.fixture(scope="session")
def fault_table(pytestconfig: pytest.Config) -> Iterator[list[Row]]:
    """The rows of docs/faults.md, one for each fault; printed when all tests have run.

    Fails if that page lacks one of them.
    """
    rows: list[Row] = []
    yield rows
    capture = pytestconfig.pluginmanager.getplugin("capturemanager")
    with capture.global_and_fixture_disabled():
        print(f"\n{render(rows)}")  # noqa: T201
    page = (Path(__file__).parents[2] / "docs/faults.md").read_text()
    missing = [row.fault for row in rows if f"| {row.fault} |" not in page]
    assert not missing, f"docs/faults.md lacks {', '.join(missing)}"


@pytest.fixture(scope="module")
def asked_before(target: Service) -> int:
    """How often somebody asked a module's target, before its tricks, for what they hide."""
    return target.asked_for(SECRET)
