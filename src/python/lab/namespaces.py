"""Namespaces: how a process of this machine gets to see what a host sees."""

import ctypes
import os
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager

_CLONE_NEWNET = 0x40000000
_libc = ctypes.CDLL(None, use_errno=True)


def entering(pid: int, command: Sequence[str]) -> list[str]:
    """The command, run where the process `pid` is: its files, network, processes and name."""
    kinds = ("--mount", "--uts", "--ipc", "--net", "--pid", "--cgroup")
    return ["nsenter", f"--target={pid}", *kinds, "--", *command]


def first_process(pids: Iterable[int]) -> int | None:
    """That of the processes which is number 1 in a namespace below this machine's, if any."""
    for pid in pids:
        numbers = _numbers(pid)
        if len(numbers) > 1 and numbers[-1] == "1":
            return pid
    return None


@contextmanager
def inside_network(pid: int) -> Iterator[None]:
    """Lets this thread, and it alone, use the network of the process `pid`.

    A socket stays in the network in which it was made.
    """
    before = os.open("/proc/thread-self/ns/net", os.O_RDONLY)
    try:
        wanted = os.open(f"/proc/{pid}/ns/net", os.O_RDONLY)
        try:
            _set_network(wanted)
        finally:
            os.close(wanted)
        try:
            yield
        finally:
            _set_network(before)
    finally:
        os.close(before)


def _set_network(descriptor: int) -> None:
    if _libc.setns(descriptor, _CLONE_NEWNET) != 0:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number))


def _numbers(pid: int) -> list[str]:
    try:
        with open(f"/proc/{pid}/status", encoding="utf-8") as status:  # noqa: PTH123
            return next(line.split()[1:] for line in status if line.startswith("NSpid:"))
    except (FileNotFoundError, ProcessLookupError):
        return []
