import compileall
import os
import subprocess
import sys
import zipfile
from collections.abc import Iterator
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest

from reproducible import first_difference

PEX = Path("build-support/pants/pex").absolute()
MEMORY = Path("/dev/shm")
"""Lists the files of a folder by when they were made, not by their names."""

MODULES = [f"package/{name}/__init__.py" for name in ("one", "two", "three", "four")]
METADATA = {
    "package-1.0.dist-info/METADATA": "Metadata-Version: 2.1\nName: package\nVersion: 1.0\n",
    "package-1.0.dist-info/WHEEL": "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n",
    "package-1.0.dist-info/RECORD": "".join(f"{name},,\n" for name in MODULES),
}


@pytest.fixture
def cache() -> Iterator[Path]:
    """A folder for what Pex unpacks."""
    with TemporaryDirectory(dir=MEMORY) as folder:
        yield Path(folder)


def write_wheel(folder: Path, modules: list[str]) -> None:
    """Writes a wheel with its modules in the order in which they will be unpacked."""
    folder.mkdir()
    with zipfile.ZipFile(folder / "package-1.0-py3-none-any.whl", "w") as wheel:
        for name, content in (dict.fromkeys(modules, "") | METADATA).items():
            wheel.writestr(name, content)


def build(wheels: Path, sources: Path, cache: Path, output: Path) -> Path:
    """Builds a PEX file as Pants does."""
    pex: list[str | Path] = [sys.executable, PEX, "--no-emit-warnings", "--output-file", output]
    pex += ["--no-pypi", "--find-links", wheels, "package==1.0", "--sources-directory", sources]
    environment = {
        "PATH": os.environ["PATH"],
        "PEX_IGNORE_RCFILES": "true",
        "PEX_PYTHON": sys.executable,
        "PEX_ROOT": str(cache),
    }
    subprocess.run(pex, env=environment, check=True)
    return output


def unpacked(cache: Path) -> list[str]:
    """The package's folders in the order in which the file system lists them."""
    package = next((cache / "installed_wheels").glob("*/*/package"))
    return [path.name for path in package.iterdir()]


def test_the_bytes_depend_on_no_order_and_no_bytecode(tmp_path: Path, cache: Path) -> None:
    sources = tmp_path / "sources"
    sources.mkdir()
    (sources / "main.py").touch()
    write_wheel(tmp_path / "forwards", MODULES)
    write_wheel(tmp_path / "backwards", MODULES[::-1])

    first = build(tmp_path / "forwards", sources, cache / "first", tmp_path / "first.pex")
    other = build(tmp_path / "backwards", sources, cache / "other", tmp_path / "other.pex")
    assert unpacked(cache / "first") == unpacked(cache / "other")[::-1]
    assert first_difference(first, other) is None

    for folder in (sources, cache / "other/installed_wheels"):
        assert compileall.compile_dir(folder, quiet=1)
    assert list(cache.rglob("*.pyc"))
    again = build(tmp_path / "backwards", sources, cache / "other", tmp_path / "again.pex")
    assert first_difference(first, again) is None
    assert not [name for name in zipfile.ZipFile(again).namelist() if name.endswith(".pyc")]
