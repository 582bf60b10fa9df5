"""A host of a lab: a Debian 12 server on which anything can be run, and that can lose its power."""

import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from lab import programs
from lab.deadline import wait_for
from lab.disk import MOUNT, Disk
from lab.errors import DownError, LabError
from lab.namespaces import entering, first_process

if TYPE_CHECKING:
    from lab.lab import Lab

BOOT_SECONDS = 90.0
OFF_SECONDS = 90.0

# Runs in a mount namespace of its own. A host that is rebooted from inside ends with 133 and begins
# again. On the options of systemd-nspawn:
# - no machined to register with, no unit of this machine to live in, no journal here to link to;
# - its filter of system calls lets `bpf` through: without it IPAddressDeny= silently does nothing;
# - it may change its own network, for firewalls;
# - then version 1 cgroups are made writable: without it MemoryMax=, TasksMax= and CPUQuota=
#   silently do nothing.
_RUN = f"""
set -eu
name=$1 folder=$2 base=$3; shift 3
{MOUNT}
echo "$name" > "$folder/root/etc/hostname"
cp "$folder/../hosts" "$folder/root/etc/hosts"
code=133
while [ "$code" = 133 ]; do
  code=0
  setsid --wait "$@" systemd-nspawn --directory="$folder/root" --machine="$name" \\
    --register=no --keep-unit --link-journal=no \\
    --system-call-filter=bpf \\
    --capability=CAP_NET_ADMIN --network-namespace-path="/run/netns/$name" \\
    --resolv-conf=off --timezone=off --console=pipe --kill-signal=SIGRTMIN+3 \\
    /bin/sh -c 'for controller in memory pids cpu cpuacct; do
      [ ! -e "/sys/fs/cgroup/$controller/cgroup.procs" ] ||
        mount -o remount,bind,rw "/sys/fs/cgroup/$controller"
    done; exec /lib/systemd/systemd' || code=$?
  echo "systemd-nspawn ended with $code"
done
"""


class LabHost:
    """One host of a lab that is up.

    `name`: its name, by which the others reach it.
    `address`: its IP address.
    `disk`: what it keeps over a power cut.
    """

    def __init__(self, lab: "Lab", name: str, folder: Path, base: Path) -> None:
        self.name = name
        self.address = lab.network.address(name)
        self.disk = Disk(folder, self._keeper)
        self._lab = lab
        self._folder = folder
        self._base = base

    @property
    def pid(self) -> int:
        """Its systemd, as this machine numbers processes. Raises `DownError` if it is off."""
        pid = self._leader()
        if pid is None:
            raise DownError(f"{self.name} is off: boot it first")
        return pid

    @property
    def is_on(self) -> bool:
        """Whether its systemd runs."""
        return self._leader() is not None

    @property
    def console(self) -> Path:
        """What it printed while it booted."""
        return self._folder / "console.log"

    def url(self, port: int, path: str = "") -> str:
        """The URL of a server on it, by its name."""
        return f"http://{self.name}:{port}{path}"

    # What runs on it

    def command(self, *command: str) -> list[str]:
        """What to run on this machine so that `command` runs on the host, as root."""
        return entering(self.pid, command)

    def run(
        self,
        *command: str,
        stdin: str | bytes = b"",
        check: bool = True,
        seconds: float = programs.COMMAND_SECONDS,
    ) -> subprocess.CompletedProcess[str]:
        """Runs a command on it as root. Raises `CommandError` if it fails and is to be checked."""
        return programs.run(
            self.command(*command), stdin=stdin, check=check, seconds=seconds, where=self.name
        )

    def shell(self, script: str, *, check: bool = True) -> subprocess.CompletedProcess[str]:
        """Runs a script of sh on it as root."""
        return self.run("sh", "-euc", script, check=check)

    def put(self, file: Path, path: str) -> None:
        """Copies a file of this machine to it, with its mode."""
        mode = f"{file.stat().st_mode & 0o777:o}"
        copy = 'mkdir -p "$(dirname "$1")"; cat > "$1"; chmod "$2" "$1"'
        with file.open("rb") as content:
            copied = subprocess.run(
                self.command("sh", "-euc", copy, "sh", path, mode),
                env=programs.ENVIRONMENT,
                stdin=content,
                stderr=subprocess.PIPE,
                check=False,
            )
        if copied.returncode != 0:
            raise LabError(
                f"{file} cannot be copied to {self.name}:{path}:"
                f" {copied.stderr.decode(errors='replace').strip()}"
            )

    def write(self, path: str, text: str, *, mode: str = "644") -> None:
        """Writes a file on it, and its folder if that is missing."""
        write = 'mkdir -p "$(dirname "$1")"; cat > "$1"; chmod "$2" "$1"'
        self.run("sh", "-euc", write, "sh", path, mode, stdin=text)

    def read(self, path: str) -> str:
        """The text of a file on it."""
        return self.run("cat", path).stdout

    def exists(self, path: str) -> bool:
        """Whether it has such a file or folder."""
        return self.run("test", "-e", path, check=False).returncode == 0

    # Its units

    def systemctl(self, *words: str, check: bool = True) -> str:
        """What `systemctl` prints."""
        return self.run("systemctl", "--no-pager", *words, check=check).stdout.strip()

    def property_of(self, unit: str, name: str) -> str:
        """A property of a unit, for instance `MainPID`."""
        return self.systemctl("show", "--value", f"--property={name}", unit)

    def failed_units(self) -> list[str]:
        """The units that have failed."""
        listed = self.systemctl("list-units", "--failed", "--plain", "--no-legend", check=False)
        return [line.split()[0] for line in listed.splitlines()]

    def is_active(self, unit: str) -> bool:
        """Whether a unit has started, and is ready where it says so."""
        return self.property_of(unit, "ActiveState") == "active"

    def journal(self, unit: str, lines: int = 1000) -> str:
        """The last lines that a unit has logged."""
        return self.run(
            "journalctl", "--no-pager", "--output=cat", f"--unit={unit}", f"--lines={lines}"
        ).stdout

    def wait_for(
        self, condition: Callable[[], bool], seconds: float = BOOT_SECONDS, what: str = "it"
    ) -> None:
        """Waits until a condition holds. Raises `LateError`, which names the host and `what`."""
        wait_for(condition, seconds, f"{what} on {self.name}")

    # Its power

    def boot(self, *, wait: bool = True) -> str:
        """Switches it on; waits for the end of the boot, and returns how systemd calls that.

        "running" is well, "degraded" means that a unit has failed.
        """
        if self.is_on:
            raise LabError(f"{self.name} is on already")
        inside = self._lab.cgroups.entering(self.name, [])
        given = [self.name, str(self._folder), str(self._base), *inside]
        alone = ["unshare", "--mount", "--propagation=private"]
        self._lab.start([*alone, "sh", "-c", _RUN, "sh", *given], self.console)
        wait_for(lambda: self.is_on, BOOT_SECONDS, f"the start of {self.name} ({self.console})")
        return self.wait_until_booted() if wait else "starting"

    def wait_until_booted(self, seconds: float = BOOT_SECONDS) -> str:
        """Waits for the end of the boot, and returns how systemd calls that."""
        return wait_for(self._booted, seconds, f"the boot of {self.name} ({self.console})")

    def crash(self) -> None:
        """Cuts its power: all processes end at once, and what was not synced to disk is lost.

        The network still has its address, as after a reset: clients are refused. Pull the cable
        too (`unplug`) for a server that says nothing at all.
        """
        pid = self.pid
        self.disk.cut_power()
        self._lab.kill(pid)
        self._wait_until_off()

    def switch_off(self) -> None:
        """Shuts it down in order."""
        self.systemctl("poweroff", check=False)
        self._wait_until_off()

    def _wait_until_off(self) -> None:
        empty = self._lab.cgroups.is_empty
        wait_for(lambda: empty(self.name), OFF_SECONDS, f"the end of {self.name}")
        self.disk.wait_until_released()

    def _booted(self) -> str:
        seen = self.run("systemctl", "is-system-running", check=False).stdout.strip()
        return seen if seen in {"running", "degraded"} else ""

    def _leader(self) -> int | None:
        # Where systemd puts itself; before that it is no server yet.
        return first_process(self._lab.cgroups.processes(f"{self.name}/payload/init.scope"))

    def _keeper(self) -> int:
        # systemd-nspawn itself: outside the host, but in the mount namespace that is the host's.
        pids = self._lab.cgroups.processes(f"{self.name}/supervisor")
        if not pids:
            raise DownError(f"{self.name} is off: boot it first")
        return pids[0]
