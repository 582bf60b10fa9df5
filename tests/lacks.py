"""What a test needs and a machine does not have."""

import os
from typing import NoReturn

import pytest


def lack(reason: str) -> NoReturn:
    """Skips the test and says why; in CI, where every test must run, it fails."""
    if os.environ.get("CI") == "true":
        pytest.fail(f"in CI this must run: {reason}")
    pytest.skip(reason)
