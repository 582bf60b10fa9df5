"""What goes wrong on servers, each as a block at whose end it is undone; `clock` has one more."""

from collections.abc import Iterator
from contextlib import contextmanager

from lab.host import LabHost
from lab.lab import Lab


def processes(host: LabHost, unit: str) -> list[int]:
    """The processes of a unit, as the host numbers them; the main one is first if it has one."""
    main = int(host.property_of(unit, "MainPID") or 0)
    group = host.property_of(unit, "ControlGroup")
    # On a machine with both versions of cgroups, systemd's own is below `systemd` or `unified`.
    script = (
        'for top in unified systemd .; do file="/sys/fs/cgroup/$top$1/cgroup.procs"'
        '; [ -e "$file" ] && exec cat "$file"; done'
    )
    seen = host.run("sh", "-uc", script, "sh", group, check=False).stdout if group else ""
    pids = [int(pid) for pid in seen.split()]
    return sorted(pids, key=lambda pid: (pid != main, pid))


def kill(host: LabHost, *pids: int) -> None:
    """Kills processes of a host with SIGKILL."""
    host.run("kill", "-KILL", *(str(pid) for pid in pids))


@contextmanager
def stopped(host: LabHost, *pids: int) -> Iterator[None]:
    """Stops processes with SIGSTOP: alive, and doing nothing."""
    numbers = [str(pid) for pid in pids]
    host.run("kill", "-STOP", *numbers)
    try:
        yield
    finally:
        # Whoever watches them may have killed them meanwhile.
        host.run("kill", "-CONT", *numbers, check=False)


@contextmanager
def without_power(host: LabHost) -> Iterator[None]:
    """Cuts the power of a host; afterwards it boots."""
    host.crash()
    try:
        yield
    finally:
        host.boot()


@contextmanager
def full_disk(host: LabHost, free: int = 0) -> Iterator[None]:
    """Takes all room on a host's disk but `free` bytes."""
    host.disk.fill(free)
    try:
        yield
    finally:
        host.disk.empty()


@contextmanager
def cut(lab: Lab, source: str, destination: str, *, one_way: bool = False) -> Iterator[None]:
    """Lets nothing through between two hosts, or from the first to the second."""
    lab.network.cut(source, destination, one_way=one_way)
    try:
        yield
    finally:
        lab.network.heal()


@contextmanager
def loss(lab: Lab, source: str, destination: str, percent: int) -> Iterator[None]:
    """Drops a share of the packets between two hosts."""
    lab.network.lose(source, destination, percent)
    try:
        yield
    finally:
        lab.network.calm()


@contextmanager
def blocked(lab: Lab, host: str, port: int) -> Iterator[None]:
    """Lets nothing through to a port of a host."""
    lab.network.block(host, port)
    try:
        yield
    finally:
        lab.network.heal()


@contextmanager
def unplugged(lab: Lab, host: str) -> Iterator[None]:
    """Pulls the cable of a host."""
    lab.network.unplug(host)
    try:
        yield
    finally:
        lab.network.plug(host)
