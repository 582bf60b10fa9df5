"""PEX files for tests: what `sbom` reads of a real one, and nothing else."""

import json
import zipfile
from pathlib import Path

from hostkit.server.pex import Pex

BOOTSTRAP_SHA1 = "b" * 40
CODE_SHA1 = "c" * 40


def pack(
    path: Path,
    *requirements: str,
    packages: dict[str, str],
    vendored: dict[str, str] | None = None,
    more: dict[str, str] | None = None,
) -> Pex:
    """Writes a PEX file.

    `requirements`: of our own modules.
    `packages`, `vendored`: for each NAME-VERSION the further lines of its metadata.
    `more`: further files, by their paths.
    """
    info = {
        "bootstrap_hash": BOOTSTRAP_SHA1,
        "build_properties": {"pex_version": "2.1"},
        "code_hash": CODE_SHA1,
        "distributions": {wheel_of(package): sha256_of(package) for package in packages},
        "interpreter_constraints": ["CPython==3.11.*"],
        "pex_hash": "e" * 40,
        "requirements": requirements,
    }
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("PEX-INFO", json.dumps(info))
        for package, lines in packages.items():
            archive.writestr(f"{folder_of(package)}/METADATA", _metadata(package, lines))
        for package, lines in (vendored or {}).items():
            folder = f".bootstrap/pex/vendor/_vendored/x/{package}.dist-info"
            archive.writestr(f"{folder}/METADATA", _metadata(package, lines))
        for name, content in (more or {}).items():
            archive.writestr(name, content)
    return Pex(path)


def wheel_of(package: str) -> str:
    """The wheel that a package was installed from."""
    return f"{package}-py3-none-any.whl"


def folder_of(package: str) -> str:
    """Where the metadata of a package are."""
    return f".deps/{wheel_of(package)}/{package}.dist-info"


def sha256_of(package: str) -> str:
    """What stands for the hash of a package."""
    return package.encode().hex().rjust(64, "0")


def _metadata(package: str, lines: str) -> str:
    name, version = package.split("-")
    return f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n{lines}\n"
