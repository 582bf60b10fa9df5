"""Programs of this machine: which a lab needs, and how one is run."""

import os
import shutil
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

from lab.errors import CommandError, UnfitError

# The whole of it: a lab acts the same whoever started it, and sbin is not on every user's PATH.
ENVIRONMENT = {
    "HOME": "/root",
    "LANG": "C.UTF-8",
    "PATH": "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
}
COMMAND_SECONDS = 600.0

_PACKAGES = {
    "ip": "iproute2",
    "mkfs.ext4": "e2fsprogs",
    "mmdebstrap": "mmdebstrap",
    "nft": "nftables",
    "nsenter": "util-linux",
    "systemd-nspawn": "systemd-container",
}


def check_machine() -> None:
    """Raises `UnfitError`, which says all that this machine lacks for a lab."""
    if sys.platform != "linux" or os.geteuid() != 0:
        raise UnfitError("a lab needs Linux and root: run it with sudo")
    missing = sorted(
        package
        for program, package in _PACKAGES.items()
        if shutil.which(program, path=ENVIRONMENT["PATH"]) is None
    )
    if missing:
        raise UnfitError(
            f"this machine lacks {', '.join(missing)}:"
            f" sudo apt-get install --yes --no-install-recommends {' '.join(missing)}"
        )
    if not Path("/dev/loop-control").exists():
        raise UnfitError(
            "/dev/loop-control is missing, and each host's disk is a loop device:"
            " run 'modprobe loop', or start the container with --privileged"
        )


def run(
    command: Sequence[str],
    *,
    stdin: str | bytes = b"",
    check: bool = True,
    seconds: float = COMMAND_SECONDS,
    where: str = "this machine",
) -> subprocess.CompletedProcess[str]:
    """Runs a command to its end. Raises `CommandError` if it fails and is to be checked."""
    try:
        ended = subprocess.run(
            command,
            env=ENVIRONMENT,
            input=stdin.encode() if isinstance(stdin, str) else stdin,
            capture_output=True,
            check=False,
            timeout=seconds,
        )
    except subprocess.TimeoutExpired as late:
        printed = b"\n".join(part for part in (late.stdout, late.stderr) if part)
        raise CommandError(
            f"{_shown(command)} on {where} took longer than {seconds:g} s and was killed;"
            f" it printed:\n{_tail(printed.decode(errors='replace'))}",
            code=-9,
        ) from None
    stdout, stderr = (part.decode(errors="replace") for part in (ended.stdout, ended.stderr))
    if check and ended.returncode != 0:
        raise CommandError(
            f"{_shown(command)} on {where} ended with {ended.returncode}:"
            f"\n{_tail(stdout + stderr)}",
            code=ended.returncode,
        )
    return subprocess.CompletedProcess(command, ended.returncode, stdout, stderr)


def start(command: Sequence[str], log: Path) -> None:
    """Starts a command that outlives this process, in a session of its own."""
    with log.open("ab") as output:
        # The fork makes it nobody's child: no process here has to wait for its end.
        subprocess.run(
            ["setsid", "--fork", *command],  # noqa: S607
            env=ENVIRONMENT,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            check=True,
        )


def _shown(command: Sequence[str]) -> str:
    # What follows the last "--" is what somebody asked for; before it is the way there.
    last = max((index for index, word in enumerate(command) if word == "--"), default=-1)
    return repr(" ".join(command[last + 1 :])[:200])


def _tail(text: str, lines: int = 30) -> str:
    return "\n".join(text.splitlines()[-lines:]) or "(nothing)"
