"""A release that differs from another in nothing but its bytes, to upgrade to."""

import shutil
import zipfile
from pathlib import Path


def another(pex: Path, target: Path) -> Path:
    """Writes the same program to `target`; a PEX takes no notice of a file more in it."""
    shutil.copy(pex, target)
    with zipfile.ZipFile(target, "a") as archive:
        archive.writestr("another.txt", target.name)
    return target
