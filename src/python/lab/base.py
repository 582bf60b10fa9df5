"""The root file system of a bare Debian 12 server, made once and kept.

It has systemd and Python 3.11 and little else: what a host needs beyond that, its PEX has to bring.
"""

import fcntl
import os
import shutil
import tempfile
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path

from lab.programs import check_machine, run

CACHE = Path("/var/cache/tripod-lab")

SUITE = "bookworm"
PACKAGES = (
    "ca-certificates",
    "curl",
    "dbus",
    "iproute2",
    "iputils-ping",
    "nftables",
    "procps",
    "python3",
    "systemd",
    "systemd-sysv",
)
MAKE_SECONDS = 1800.0

_LEFT_OUT = ("/usr/share/doc/*", "/usr/share/man/*", "/usr/share/locale/*")


def find_or_make(extra: Iterable[str] = (), cache: Path = CACHE) -> Path:
    """The folder of a root file system that has the `extra` Debian packages too.

    Made if it is not in the cache; remove it from there to have it made anew, with updates.
    """
    folder = cache / name(extra)
    if folder.is_dir():
        return folder
    check_machine()
    cache.mkdir(parents=True, exist_ok=True)
    with _only_one(cache / "lock"):
        if not folder.is_dir():
            _make(folder, [*PACKAGES, *sorted(set(extra))])
    return folder


def is_made(extra: Iterable[str] = (), cache: Path = CACHE) -> bool:
    """Whether it is in the cache already."""
    return (cache / name(extra)).is_dir()


def name(extra: Iterable[str] = ()) -> str:
    """The name of a root file system in the cache: one for each set of packages."""
    return "+".join([SUITE, *sorted(set(extra))])


def _make(folder: Path, packages: list[str]) -> None:
    with tempfile.TemporaryDirectory(dir=folder.parent, prefix=".making-") as scratch:
        root = Path(scratch) / "root"
        run(
            [
                "mmdebstrap",
                "--variant=minbase",
                '--aptopt=Acquire::Languages "none"',
                *(f"--dpkgopt=path-exclude={pattern}" for pattern in _LEFT_OUT),
                f"--include={','.join(packages)}",
                SUITE,
                str(root),
            ],
            seconds=MAKE_SECONDS,
        )
        for leftover in ("var/cache/apt", "var/lib/apt/lists"):
            for path in (root / leftover).iterdir():
                shutil.rmtree(path) if path.is_dir() else path.unlink()
        # Each host is to have an identity of its own, and no name server: there is none to reach.
        (root / "etc/machine-id").write_text("")
        for unwanted in ("var/lib/dbus/machine-id", "etc/resolv.conf"):
            (root / unwanted).unlink(missing_ok=True)
        root.chmod(0o755)
        # A folder that is there is complete.
        root.rename(folder)


@contextmanager
def _only_one(lock: Path) -> Iterator[None]:
    descriptor = os.open(lock, os.O_CREAT | os.O_RDWR, 0o600)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
    finally:
        os.close(descriptor)
