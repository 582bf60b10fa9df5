"""Which release of Tripod this is, and what it is made of."""

import importlib.metadata
import importlib.resources
import platform
from dataclasses import dataclass

VERSION = "0.1.0"


@dataclass(frozen=True)
class Release:
    """What `version` prints.

    `version`: of Tripod.
    `revision`: the git commit that it was built from; None if the tree had uncommitted changes.
    `python`: the interpreter's version.
    `components`: the versions of the distributions that the host runs, by name.
    """

    version: str
    revision: str | None
    python: str
    components: dict[str, str]


def describe(distributions: tuple[str, ...]) -> Release:
    """What this release is, with the versions of the distributions that are named."""
    return Release(
        version=VERSION,
        revision=_revision(),
        python=platform.python_version(),
        components={name: importlib.metadata.version(name) for name in distributions},
    )


def _revision() -> str | None:
    resource = importlib.resources.files("hostkit") / "revision.txt"  # Made when a PEX is packaged.
    return (resource.read_text().strip() or None) if resource.is_file() else None
