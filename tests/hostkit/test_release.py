import importlib.metadata
import platform
import re

import pytest

from hostkit import release


def test_a_release_names_what_it_is_made_of() -> None:
    this = release.describe(("pytest",))
    assert this.components == {"pytest": pytest.__version__}
    assert this.python == platform.python_version()
    assert re.fullmatch(r"\d+\.\d+\.\d+", this.version)
    assert this.revision is None or re.fullmatch("[0-9a-f]{40}", this.revision)


def test_a_distribution_that_is_not_there_is_an_error() -> None:
    with pytest.raises(importlib.metadata.PackageNotFoundError):
        release.describe(("no-such-distribution",))
