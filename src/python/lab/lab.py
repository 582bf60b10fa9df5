"""The lab: hosts, a network between them, and nothing left of it when it is down."""

import json
import os
import shutil
import signal
import subprocess
import zlib
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from types import TracebackType
from typing import Self

from lab import base, programs
from lab.cgroups import INIT, Cgroups
from lab.deadline import wait_for
from lab.errors import DownError, LabError
from lab.host import LabHost
from lab.namespaces import entering, first_process
from lab.network import ADDRESSES, WORLD, Network, check_addresses

FOLDER = Path("/var/lib/tripod-lab")
START_SECONDS = 20.0

# Number 1 of the lab's own process namespace: it only reaps, and all ends with it.
_INIT = "while :; do sleep infinity & wait $!; done"


class Lab:
    """Hosts and the network between them: a context manager that leaves nothing behind.

    `folder`: holds the hosts' disks while the lab is up; it may not exist before.
    `addresses`: the IP address of each host by its name.
    `root`: the root file system that each host begins with; by default the bare one.
    """

    def __init__(
        self,
        folder: Path = FOLDER,
        addresses: Mapping[str, str] = ADDRESSES,
        root: Path | None = None,
    ) -> None:
        programs.check_machine()
        check_addresses(addresses)
        self.folder = folder.resolve()
        self.network = Network(
            addresses, lambda command, text: self.run(*command.split(), stdin=text)
        )
        self.cgroups = Cgroups.named(f"tripod-lab-{zlib.crc32(bytes(self.folder)):08x}")
        self._root = root
        self.hosts: dict[str, LabHost] = {}

    @classmethod
    def running(cls, folder: Path = FOLDER) -> Self:
        """The lab that is up in a folder. Raises `DownError` if there is none."""
        try:
            state = json.loads((folder / "lab.json").read_text())
        except FileNotFoundError:
            raise DownError(f"no lab is up in {folder}: run './lab up' first") from None
        lab = cls(folder, state["addresses"], Path(state["root"]))
        lab._find_hosts()
        _ = lab.init
        return lab

    def __enter__(self) -> Self:
        self.up()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.down()

    def __getitem__(self, name: str) -> LabHost:
        try:
            return self.hosts[name]
        except KeyError:
            raise LabError(
                f"no host is called {name!r}: there are {', '.join(self.hosts)}"
            ) from None

    @property
    def init(self) -> int:
        """The process that keeps the lab's namespaces. Raises `DownError` if there is none."""
        pid = first_process(self.cgroups.processes(INIT))
        if pid is None:
            raise DownError(f"the lab in {self.folder} is down: run './lab up' first")
        return pid

    @property
    def is_up(self) -> bool:
        """Whether it runs."""
        return first_process(self.cgroups.processes(INIT)) is not None

    def up(self) -> None:
        """Makes the hosts and boots them; bare ones, whatever was here before."""
        if self.is_up:
            raise LabError(f"a lab is up in {self.folder} already: run './lab down' first")
        root = self._root or base.find_or_make()
        self.down()
        try:
            self.folder.mkdir(mode=0o700, parents=True)
            state = {"addresses": self._addresses, "root": str(root)}
            (self.folder / "lab.json").write_text(json.dumps(state))
            self._root = root
            self._start()
            self._find_hosts()
            with ThreadPoolExecutor(len(self.hosts)) as pool:
                for _ in pool.map(self._make_host, self.hosts.values()):
                    pass
        except BaseException:
            self.down()
            raise

    def down(self) -> None:
        """Ends every process of it and removes all that it had. Nothing happens if it is down."""
        self.cgroups.kill()
        self.cgroups.remove()
        # Its mounts were in its own namespace and ended with its last process.
        if (self.folder / "lab.json").exists():
            shutil.rmtree(self.folder)
        self.hosts = {}

    def command(self, *command: str) -> list[str]:
        """What to run on this machine so that `command` runs in the lab's network, as the world."""
        return entering(self.init, command)

    def run(
        self, *command: str, stdin: str | bytes = b"", check: bool = True
    ) -> subprocess.CompletedProcess[str]:
        """Runs a program of this machine in the lab's network: an ordinary client of the hosts."""
        return programs.run(self.command(*command), stdin=stdin, check=check, where=f"the {WORLD}")

    def start(self, command: Sequence[str], log: Path) -> None:
        """Starts a program that lives as long as the lab at most."""
        programs.start(self.cgroups.entering(INIT, self.command(*command)), log)

    def kill(self, pid: int) -> None:
        """Kills a process of the lab, at once."""
        os.kill(pid, signal.SIGKILL)

    @property
    def _addresses(self) -> dict[str, str]:
        return {
            name: self.network.address(name) for name in self.network.addresses if name != WORLD
        }

    def _find_hosts(self) -> None:
        assert self._root is not None  # noqa: S101
        self.hosts = {
            name: LabHost(self, name, self.folder / name, self._root) for name in self._addresses
        }

    def _start(self) -> None:
        self.cgroups.make(self._addresses)
        alone = ["unshare", "--mount", "--uts", "--ipc", "--net", "--pid", "--mount-proc"]
        ending = ["--fork", "--kill-child=KILL", "--propagation=private"]
        init = [*alone, *ending, "sh", "-c", _INIT]
        programs.start(self.cgroups.entering(INIT, init), self.folder / "init.log")
        wait_for(self._has_started, START_SECONDS, f"the start of the lab ({self.folder}/init.log)")
        # A /run of its own, so that the namespaces' names are nobody else's; and names for clients.
        hosts = self.folder / "hosts"
        hosts.write_text(self.network.hosts_file())
        self.run("hostname", WORLD)
        self.run("mount", "-t", "tmpfs", "-o", "mode=755", "tmpfs", "/run")
        self.run("mkdir", "-p", "/run/netns", "/run/systemd")
        self.run("mount", "--bind", str(hosts), "/etc/hosts")
        self.network.make()

    def _has_started(self) -> bool:
        # It is `unshare` itself until its mounts are made.
        return self.is_up and Path(f"/proc/{self.init}/comm").read_text() == "sh\n"

    def _make_host(self, host: LabHost) -> None:
        host.disk.make()
        state = host.boot()
        if state != "running":
            raise LabError(f"{host.name} is {state}: {', '.join(host.failed_units())} failed")
