"""What a test needs and a machine does not have."""

import os
import shutil
from typing import NoReturn

import pytest

PATH = f"{os.environ.get('PATH', '')}:/usr/sbin:/sbin"


def lack(reason: str) -> NoReturn:
    """Skips the test and says why; in CI, where every test must run, it fails."""
    if os.environ.get("CI") == "true":
        pytest.fail(f"in CI this must run: {reason}")
    pytest.skip(reason)


def program(name: str, package: str) -> str:
    """A program of a Debian package; without it the test is skipped, and fails in CI."""
    found = shutil.which(name, path=PATH)
    if found is None:
        lack(f"{name} is not here: on Debian, apt install {package}")
    return found
