"""The cgroups of a lab: what limits its hosts, and what ends all of it at once."""

import errno
from collections.abc import Iterable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from pathlib import Path, PurePosixPath
from typing import Self

from lab.deadline import wait_for

END_SECONDS = 20.0

INIT = "init"
"""The cgroup of the lab's own processes: where hosts are, no process may be beside them."""

_CONTROLLERS = ("cpu", "memory", "pids")
_OLD_HIERARCHIES = {"name=systemd", "memory", "pids", "cpu", "cpuacct"}
"""What systemd in a host needs of version 1, where the machine still has it."""

# Moves itself into the folders before "--", and becomes what follows.
_ENTER = 'while [ "$1" != -- ]; do echo 0 > "$1/cgroup.procs"; shift; done; shift; exec "$@"'


@dataclass(frozen=True)
class Cgroups:
    """The lab's folder in each hierarchy.

    `unified`: that of version 2; every process of the lab is in it, so no file of pids is trusted.
    `old`: those of version 1, where limits are on machines that have both.
    """

    unified: Path
    old: tuple[Path, ...] = ()

    @classmethod
    def named(cls, name: str) -> Self:
        """The folders of a lab, whether they exist or not."""
        own = Path("/proc/self/cgroup").read_text()
        unified, old = places(own, Path("/proc/self/mountinfo").read_text())
        return cls(Path(unified) / name, tuple(Path(place) / name for place in old))

    def make(self, hosts: Iterable[str]) -> None:
        """Makes a cgroup for each host and one for the lab itself."""
        self.unified.mkdir()
        if _has_limits(self.unified.parent):
            self._pass_limits_on()
        for folder in (self.unified, *self.old):
            for name in (INIT, *hosts):
                (folder / name).mkdir(parents=True, exist_ok=True)

    def entering(self, name: str, command: Sequence[str]) -> list[str]:
        """The command, run in the cgroup of a host or the lab itself."""
        folders = [str(folder / name) for folder in (self.unified, *self.old)]
        return ["sh", "-c", _ENTER, "sh", *folders, "--", *command]

    def processes(self, name: str) -> list[int]:
        """The processes in a cgroup below the lab's, as this machine numbers them."""
        try:
            return [int(pid) for pid in (self.unified / name / "cgroup.procs").read_text().split()]
        except (FileNotFoundError, OSError) as error:
            if isinstance(error, FileNotFoundError) or error.errno == errno.ENODEV:
                return []
            raise

    def is_empty(self, name: str = ".") -> bool:
        """Whether no process is left in a cgroup and below it."""
        try:
            return "populated 0" in (self.unified / name / "cgroup.events").read_text()
        except FileNotFoundError:
            return True

    def kill(self, name: str = ".") -> None:
        """Kills every process in a cgroup and below it, and waits for their end."""
        with suppress(FileNotFoundError):
            (self.unified / name / "cgroup.kill").write_text("1")
        wait_for(lambda: self.is_empty(name), END_SECONDS, f"the end of {self.unified / name}")

    def remove(self) -> None:
        """Removes all of it, once it is empty."""
        for folder in (self.unified, *self.old):
            wait_for(partial(_removed, folder), END_SECONDS, f"removing {folder}")

    def _pass_limits_on(self) -> None:
        wanted = " ".join(f"+{controller}" for controller in _CONTROLLERS)
        try:
            (self.unified.parent / "cgroup.subtree_control").write_text(wanted)
        except OSError as error:
            if error.errno != errno.EBUSY:
                raise
            # A container's topmost cgroup is not the kernel's: processes must leave it first.
            self._move_container_down()
            (self.unified.parent / "cgroup.subtree_control").write_text(wanted)
        (self.unified / "cgroup.subtree_control").write_text(wanted)

    def _move_container_down(self) -> None:
        top = self.unified.parent
        (top / "container").mkdir(exist_ok=True)
        for pid in (top / "cgroup.procs").read_text().split():
            with suppress(ProcessLookupError):
                (top / "container" / "cgroup.procs").write_text(pid)


def places(own: str, mounts: str) -> tuple[str, tuple[str, ...]]:
    """Where a cgroup can be made: in version 2, and in each hierarchy of version 1 that matters.

    `own`: what `/proc/self/cgroup` says.
    `mounts`: what `/proc/self/mountinfo` says.
    """
    paths = dict(_own_paths(own))
    unified = "/sys/fs/cgroup"
    old = []
    for line in mounts.splitlines():
        before, _, after = line.partition(" - ")
        root, point = before.split()[3:5]
        kind, _, options = after.split()[:3]
        if kind == "cgroup2":
            unified = point  # At its top: below a cgroup with processes there are no limits.
        elif kind == "cgroup":
            hierarchy = frozenset(options.split(",")) & paths.keys()
            if hierarchy & _OLD_HIERARCHIES:
                old.append(_within(point, root, paths[min(hierarchy)]))
    return unified, tuple(dict.fromkeys(old))


def _own_paths(own: str) -> Iterator[tuple[str, str]]:
    for line in own.splitlines():
        _, controllers, path = line.split(":", 2)
        for controller in filter(None, controllers.split(",")):
            yield controller, path


def _within(point: str, root: str, path: str) -> str:
    try:
        return str(PurePosixPath(point) / PurePosixPath(path).relative_to(root))
    except ValueError:
        return point


def _has_limits(folder: Path) -> bool:
    return "memory" in (folder / "cgroup.controllers").read_text().split()


def _removed(folder: Path) -> bool:
    if not folder.is_dir():
        return True
    try:
        for child in sorted(folder.glob("**/"), key=lambda path: -len(path.parts)):
            child.rmdir()
    except OSError as error:
        # Just after the last process has ended, the kernel may still hold it.
        if error.errno not in {errno.EBUSY, errno.ENOENT}:
            raise
    return not folder.is_dir()
