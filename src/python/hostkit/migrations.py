"""What a release knows of the versions of a schema, read from its migrations without running them.

Importing MLflow or Airflow takes seconds; reading the headers of Alembic's scripts does not.
"""

import importlib.util
import re
from dataclasses import dataclass
from pathlib import Path

_REVISION = re.compile(r"^(down_)?revision(?:: [^=]+)? = (.+)$", re.MULTILINE)
_NAME = re.compile(r"""["'](\w+)["']""")


@dataclass(frozen=True)
class Revisions:
    """What a release knows of a schema: the revision that it needs, and all before it."""

    head: str
    known: frozenset[str]


def read_revisions(package: str, folder: str) -> Revisions:
    """Reads the headers of the migrations that are in a folder below an installed package."""
    known: set[str] = set()
    passed: set[str] = set()
    for path in _scripts(package, folder):
        for down, value in _REVISION.findall(path.read_text(encoding="utf-8")):
            (passed if down else known).update(_NAME.findall(value))
    (head,) = known - passed
    return Revisions(head, frozenset(known))


def _scripts(package: str, folder: str) -> list[Path]:
    found = importlib.util.find_spec(package)  # Finds it without running it.
    if found is None or not found.submodule_search_locations:
        raise ModuleNotFoundError(package)
    folders = [Path(place) / folder for place in found.submodule_search_locations]
    return [path for below in folders for path in sorted(below.glob("*.py"))]
