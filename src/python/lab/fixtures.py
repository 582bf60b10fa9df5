"""Pytest fixtures for tests that need hosts with a real systemd."""

import os
from collections.abc import Iterator
from pathlib import Path

import pytest
from rich.console import Console

from dev_hosts.journey import travel
from dev_hosts.pexes import Pexes
from dev_hosts.progress import Progress
from lab import base, clock
from lab.deployment import Deployment
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
    fit_machine: None,  # noqa: ARG001
    tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[Lab]:
    """Three bare hosts, for all tests of a session."""
    with Lab(tmp_path_factory.mktemp("lab") / "hosts") as lab:
        yield lab


@pytest.fixture(scope="session")
def pexes() -> Pexes:
    """The PEX files, which Pants puts into the folder in which a test runs."""
    return Pexes.within(Path.cwd())


@pytest.fixture(scope="session")
def progress() -> Progress:
    """Tells on standard error what is being waited for; pytest shows it where a test fails."""
    return Progress(Console(stderr=True, width=120))


@pytest.fixture(scope="session")
def deployment(
    fit_machine: None,  # noqa: ARG001
    tmp_path_factory: pytest.TempPathFactory,
    pexes: Pexes,
    progress: Progress,
) -> Iterator[Deployment]:
    """Tripod on three hosts of its own, ready, with a model that was trained and is served.

    Their clocks can be made wrong. For all tests of a session: each leaves it as it was, ready and
    with a champion.
    """
    folder = tmp_path_factory.mktemp("deployment") / "hosts"
    with Lab(folder, root=base.find_or_make(clock.PACKAGES)) as lab:
        deployment = Deployment(lab, pexes, progress)
        deployment.put_in_place()
        travel(deployment, progress)
        yield deployment
