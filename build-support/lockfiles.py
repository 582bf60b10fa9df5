"""Makes the lockfile of every resolve from its requirements, by uv: `./pants lock`.

A lockfile holds versions and hashes and no address, so that it serves behind any mirror. Its first
line is the moment that no release in it is younger than: what is bad about a release, others often
find within days. `--check` goes by that line, so that it finds the same on every day.
"""

import argparse
import difflib
import re
import subprocess
import sys
import tempfile
import tomllib
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

import uv

ADDRESS = re.compile(r"://|^-|\s--(?!hash=)|\s@\s")
"""What a line with versions and hashes never holds."""

DAYS = 7
"""How old a release must be."""

CUTOFF = re.compile(r"# No release here is younger than (\S+)\.\n")
"""The first line of a lockfile."""


class LockError(Exception):
    """A resolve that has no answer."""


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


def cutoff_of(lockfile: str) -> str | None:
    """The moment that a lockfile says it goes by; None if it says nothing."""
    found = CUTOFF.match(lockfile)
    return found[1] if found else None


def cutoff_at(moment: datetime, days: int) -> str:
    """The moment that is so many `days` before another, which is in UTC."""
    return (moment - timedelta(days=days)).strftime("%Y-%m-%dT%H:%M:%SZ")


def compile_pins(
    requirements: tuple[Path, ...], pins: str, cutoff: str, *, upgrade: bool = False
) -> str:
    """The versions and hashes that answer the requirements, none uploaded after `cutoff`.

    Those of `pins` stay where they still answer, unless `upgrade`. Raises `LockError`.
    """
    command = [uv.find_uv_bin(), "pip", "compile", "--quiet", "--generate-hashes"]
    command += ["--no-header", "--no-annotate", "--python", sys.executable]
    command += ["--python-version", "3.11", "--python-platform", "x86_64-unknown-linux-gnu"]
    command += ["--exclude-newer", cutoff]
    command += ["--upgrade"] if upgrade else []
    with tempfile.TemporaryDirectory() as folder:
        output = Path(folder) / "lock.txt"
        output.write_text(pins)
        command += [*map(str, requirements), "--output-file", str(output)]
        if subprocess.run(command, check=False, stdout=subprocess.DEVNULL).returncode:
            raise LockError(
                f"uv finds no versions that answer the requirements and are older than {cutoff};"
                " see above. A younger one needs ./pants lock --min-age DAYS with fewer days"
            )
        return output.read_text()


def lock(resolve: Resolve, cutoff: str, *, upgrade: bool = False) -> list[str]:
    """Makes one lockfile again, if that changes anything in it; returns what is wrong.

    Raises `LockError`.
    """
    before = resolve.lockfile.read_text() if resolve.lockfile.exists() else ""
    pins = CUTOFF.sub("", before)
    after = compile_pins(resolve.requirements, pins, cutoff, upgrade=upgrade)
    problems = [f"{resolve.lockfile}: holds an address: {line}" for line in find_addresses(after)]
    if not problems and (after != pins or cutoff_of(before) is None):
        # Whoever reads it meanwhile, or ends this, has the old one or the new one.
        new = resolve.lockfile.with_suffix(".new")
        new.write_text(f"# No release here is younger than {cutoff}.\n{after}")
        new.replace(resolve.lockfile)
    return problems


def check(resolve: Resolve) -> list[str]:
    """What is wrong with one lockfile, by the moment that it names itself.

    Raises `LockError`.
    """
    before = resolve.lockfile.read_text() if resolve.lockfile.exists() else ""
    cutoff = cutoff_of(before)
    if cutoff is None:
        return [f"{resolve.lockfile}: does not say how old its releases are; run ./pants lock"]
    pins = CUTOFF.sub("", before)
    after = compile_pins(resolve.requirements, pins, cutoff)
    problems = [f"{resolve.lockfile}: holds an address: {line}" for line in find_addresses(pins)]
    if after != pins:
        problems += [
            f"{resolve.name}: the lockfile does not answer its requirements; run ./pants lock",
            *difflib.unified_diff(
                pins.splitlines(), after.splitlines(), "committed", "expected", n=0, lineterm=""
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
    parser.add_argument(
        "--min-age",
        type=int,
        metavar="DAYS",
        help=f"how old a release must be (default: {DAYS}); --check goes by the lockfile instead",
    )
    arguments = parser.parse_args()
    if arguments.check and arguments.min_age is not None:
        parser.error("--check goes by the moment that the lockfile names: leave --min-age out")
    unknown = set(arguments.names) - set(resolves)
    if unknown:
        parser.error(f"pants.toml has no resolve {', '.join(sorted(unknown))}")
    failed = False
    days = DAYS if arguments.min_age is None else arguments.min_age
    cutoff = cutoff_at(datetime.now(UTC), days)
    for name in arguments.names or resolves:
        try:
            if arguments.check:
                problems = check(resolves[name])
            else:
                problems = lock(resolves[name], cutoff, upgrade=arguments.upgrade)
        except LockError as error:
            problems = [f"{name}: {error}"]
        failed = failed or bool(problems)
        print("\n".join(problems) if problems else f"{name}: up to date")
    sys.exit(failed)


if __name__ == "__main__":
    main()
