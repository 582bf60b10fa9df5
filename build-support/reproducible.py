"""Proves that a commit always makes the same PEX files: `./pants reproduce`.

Clones the last commit twice, builds in both clones from empty caches, and compares the bytes.
"""

import argparse
import hashlib
import os
import signal
import subprocess
import sys
import tempfile
import time
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

HOSTS = ("airflow", "api", "mlflow")

SURROUNDINGS = {
    "first": ({"TZ": "UTC", "LC_ALL": "C.UTF-8"}, 0o022),
    "second-with-a-longer-name": ({"TZ": "Asia/Kathmandu", "LC_ALL": "C"}, 0o077),
}
"""What must not matter: the folder's name, the time zone, the language, the umask."""


def first_difference(one: Path, other: Path) -> str | None:
    """Where two PEX files begin to differ, in a phrase; None where they are the same."""
    if _digest(one) == _digest(other):
        return None
    with zipfile.ZipFile(one) as first, zipfile.ZipFile(other) as second:
        for a, b in zip(first.infolist(), second.infolist(), strict=False):
            if a.filename != b.filename:
                return f"{a.filename} stands where the other has {b.filename}"
            if first.read(a) != second.read(b):
                return f"the content of {a.filename}"
            if (a.date_time, a.external_attr, a.extra) != (b.date_time, b.external_attr, b.extra):
                return f"the time or mode of {a.filename}"
        if len(first.infolist()) != len(second.infolist()):
            return "one has more files than the other"
    return "bytes outside of the files"


def _digest(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _build(folder: Path, hosts: list[str]) -> dict[str, Path]:
    """Clones the repository to `folder` and packages `hosts` there; returns the PEX files."""
    variables, umask = SURROUNDINGS[folder.name]
    caches = folder.with_name(f"caches-of-{folder.name}")
    environment = {
        **os.environ,
        **variables,
        "PANTS_LOCAL_STORE_DIR": str(caches / "store"),
        "PANTS_NAMED_CACHES_DIR": str(caches / "named"),
        "PANTS_PANTSD": "false",
        "PEX_ROOT": str(caches / "pex"),
    }
    clone = ["git", "clone", "--quiet", ".", str(folder)]
    package = [str(folder / "pants"), "--level=warn", "package"]
    package += [f"src/python/{host}_host:pex" for host in hosts]
    start = time.monotonic()
    with _umask(umask):
        subprocess.run(clone, check=True)
        subprocess.run(package, check=True, cwd=folder, env=environment)
    _say(f"built in the folder {folder.name!r} in {time.monotonic() - start:.0f} s")
    return {host: folder / f"dist/{host}_host.pex" for host in hosts}


@contextmanager
def _umask(mask: int) -> Iterator[None]:
    before = os.umask(mask)
    try:
        yield
    finally:
        os.umask(before)


def _say(progress: str) -> None:
    print(f"reproduce: {progress}", file=sys.stderr, flush=True)


def main() -> None:
    """Prints each file's SHA-256; exit code 1 where two builds differ."""
    parser = argparse.ArgumentParser(prog="./pants reproduce", description=__doc__)
    parser.add_argument("hosts", nargs="*", metavar="host", help=f"of {', '.join(HOSTS)}; or all")
    hosts = parser.parse_args().hosts or list(HOSTS)
    if unknown := set(hosts) - set(HOSTS):
        parser.error(f"there is no host {', '.join(sorted(unknown))}")
    # Ended from outside, it clears away what it has made, which is large.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(128 + signal.SIGTERM))
    with tempfile.TemporaryDirectory(prefix="tripod-", ignore_cleanup_errors=True) as temporary:
        _say(f"building {', '.join(hosts)} twice from empty caches; some minutes ...")
        try:
            one, other = (_build(Path(temporary) / name, hosts) for name in SURROUNDINGS)
        except subprocess.CalledProcessError as error:
            sys.exit(f"reproduce: {error.cmd[0]} failed with exit code {error.returncode}")
        differences = {host: first_difference(one[host], other[host]) for host in hosts}
        for host, difference in differences.items():
            print(f"{_digest(one[host])}  {host}_host.pex")
            if difference:
                _say(f"{host}_host.pex differs: {difference}")
    sys.exit(1 if any(differences.values()) else 0)


if __name__ == "__main__":
    main()
