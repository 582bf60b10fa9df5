"""Pytest fixtures for tests that need hosts with a real systemd."""

import os
from collections.abc import Iterator

import pytest

from lab.errors import UnfitError
from lab.lab import Lab
from lab.programs import check_machine


@pytest.fixture(scope="session")
def fit_machine() -> None:
    """Skips where no lab can run, and says why; in CI that is a failure."""
    try:
        check_machine()
    except UnfitError as error:
        if os.environ.get("CI") == "true":
            pytest.fail(f"in CI these tests must run: {error}")
        pytest.skip(str(error))


@pytest.fixture(scope="session")
def lab(
    fit_machine: None, tmp_path_factory: pytest.TempPathFactory  # noqa: ARG001
) -> Iterator[Lab]:
    """Three bare hosts, for all tests of a session."""
    with Lab(tmp_path_factory.mktemp("lab") / "hosts") as lab:
        yield lab
