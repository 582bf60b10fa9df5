"""Makes the lockfile of every resolve from its requirements, by uv: `./pants lock`.

A lockfile holds versions and hashes and no address, so that it serves behind any mirror.
"""

import argparse
import difflib
import re
import shutil
import subprocess
import sys
import tempfile
import tomllib
from dataclasses import dataclass
from pathlib import Path

import uv

ADDRESS = re.compile(r"://|^-|\s--(?!hash=)|\s@\s")
"""What a line with versions and hashes never holds."""


@dataclass(frozen=True)
class Resolve:
    """What is installed together.

    `name`: as in pants.toml.
    `requirements`: the files with what we chose.
    `lockfile`: the file with what follows from it.
    """

    name: str
    requirements: tuple[Path, ...]
    lockfile: Path


def read_resolves(pants_toml: str) -> tuple[Resolve, ...]:
    """The resolves that pants.toml names; all but the tools' also hold what hostkit imports."""
    shared = Path("3rdparty/hostkit/requirements.txt")
    return tuple(
        Resolve(
            name=name,
            requirements=(
                *((shared,) if name not in ("pytest", "tools") else ()),
                Path(lockfile).with_name("requirements.txt"),
            ),
            lockfile=Path(lockfile),
        )
        for name, lockfile in tomllib.loads(pants_toml)["python"]["resolves"].items()
    )


def find_addresses(lockfile: str) -> list[str]:
    """The lines of a lockfile that say where to get something: an index, a URL, a path."""
    return [
        line
        for line in lockfile.splitlines()
        if not line.startswith("#") and ADDRESS.search(line.removesuffix("\\"))
    ]


def _compile(resolve: Resolve, output: Path, *, upgrade: bool) -> None:
    """Writes to `output`, whose present versions stay where they still answer the requirements."""
    command = [uv.find_uv_bin(), "pip", "compile", "--quiet", "--generate-hashes"]
    command += ["--no-header", "--no-annotate", "--python", sys.executable]
    command += ["--python-version", "3.11", "--python-platform", "x86_64-unknown-linux-gnu"]
    command += ["--upgrade"] if upgrade else []
    command += [*map(str, resolve.requirements), "--output-file", str(output)]
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL)


def _lock(resolve: Resolve, *, check: bool, upgrade: bool) -> list[str]:
    """Makes one lockfile again, or only compares it; returns what is wrong."""
    before = resolve.lockfile.read_text() if resolve.lockfile.exists() else ""
    with tempfile.TemporaryDirectory() as folder:
        fresh = Path(folder) / "lock.txt"
        fresh.write_text(before)
        try:
            _compile(resolve, fresh, upgrade=upgrade)
        except subprocess.CalledProcessError:
            return [f"{resolve.name}: uv finds no versions that answer the requirements; see above"]
        after = fresh.read_text()
        problems = [
            f"{resolve.lockfile}: holds an address: {line}" for line in find_addresses(after)
        ]
        if not check and not problems and after != before:
            shutil.copyfile(fresh, resolve.lockfile)
    if check and after != before:
        problems += [
            f"{resolve.name}: the lockfile does not answer its requirements; run ./pants lock",
            *difflib.unified_diff(
                before.splitlines(), after.splitlines(), "committed", "expected", n=0, lineterm=""
            ),
        ]
    return problems


def main() -> None:
    """Locks every resolve, or those that are named."""
    parser = argparse.ArgumentParser(prog="./pants lock", description=__doc__)
    resolves = {resolve.name: resolve for resolve in read_resolves(Path("pants.toml").read_text())}
    parser.add_argument("names", nargs="*", metavar="resolve", help=f"of {', '.join(resolves)}")
    parser.add_argument("--check", action="store_true", help="compare only; fail if one is stale")
    parser.add_argument("--upgrade", action="store_true", help="take newer versions where allowed")
    arguments = parser.parse_args()
    unknown = set(arguments.names) - set(resolves)
    if unknown:
        parser.error(f"pants.toml has no resolve {', '.join(sorted(unknown))}")
    failed = False
    for name in arguments.names or resolves:
        problems = _lock(resolves[name], check=arguments.check, upgrade=arguments.upgrade)
        failed = failed or bool(problems)
        print("\n".join(problems) if problems else f"{name}: up to date")
    sys.exit(failed)


if __name__ == "__main__":
    main()
