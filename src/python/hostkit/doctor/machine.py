"""The steps on this machine: the port, the disk, the folders and the secrets of the host itself."""

import os
import shutil
import stat
import tempfile
from collections.abc import Iterable, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from ipaddress import ip_address
from pathlib import Path
from typing import Any

from pydantic import SecretStr

from hostkit.doctor import certificates
from hostkit.doctor.steps import Fault, NothingToCheck, Step, Walk
from hostkit.doctor.users import user_name
from hostkit.server.layout import Layout
from hostkit.server.systemd import needed_credentials
from hostkit.settings import CREDENTIALS_DIRECTORY, Loaded

MIB = 1024 * 1024
GIB = 1024 * MIB

LEAST_FREE_BYTES = 512 * MIB
LEAST_FREE_SHARE = 0.03

NAME = "host"
"""How the walk is called that needs no other server."""

_LISTENS = "0A"
"""The state TCP_LISTEN in /proc/net/tcp (proc_net_tcp of the kernel's documentation)."""


@dataclass(frozen=True)
class Machine:
    """What a host uses of its machine.

    `port_variables`: the settings of the ports that it listens on; on one that is not set it does
        not.
    `folders`: the folders that it writes to, by the setting that names each.
    `unit`: what starts it.
    """

    loaded: Loaded[Any]
    port_variables: tuple[str, ...]
    folders: Mapping[str, Path]
    unit: str

    @property
    def ports(self) -> dict[str, int]:
        """The ports that it listens on, by their settings."""
        found = {name: getattr(self.loaded.settings, name.lower()) for name in self.port_variables}
        return {name: int(port) for name, port in found.items() if port is not None}


def walk(machine: Machine) -> Walk:
    """All steps on this machine; that the settings are right is known already."""
    loaded = machine.loaded
    return Walk(
        NAME,
        f"this machine ({loaded.env_file})",
        (
            Step("settings", partial(_settings, loaded)),
            Step("port", partial(_ports, machine)),
            Step("disk", partial(_disk, machine)),
            Step("folders", partial(_folders, machine)),
            Step("secrets", partial(_secrets, loaded)),
            Step("certificates", partial(certificates.look, loaded)),
        ),
        independent=True,
    )


def _settings(loaded: Loaded[Any]) -> str:
    if loaded.warnings:
        return "; ".join(loaded.warnings)
    given = [name for name in loaded.settings.variables() if name in loaded.values]
    return f"{len(given)} of {len(loaded.settings.variables())} are set"


def _ports(machine: Machine) -> str:
    found = {port: _port(machine, name, port) for name, port in machine.ports.items()}
    if len(found) == 1:
        return next(iter(found.values()))
    return "; ".join(f"{port}: {owners}" for port, owners in found.items())


def _port(machine: Machine, variable: str, port: int) -> str:
    unit = machine.unit
    found = _listeners(port)
    if not found:
        raise Fault(
            f"nothing listens on port {port}",
            "The host is not running, or has not come far enough.",
            f"'systemctl start {unit}', and 'journalctl -u {unit}' if it does not stay. The port"
            f" comes from {machine.loaded.place(variable)}.",
        )
    # A socket unit of systemd's listens as root for the host.
    others = {uid for _, uid in found} - {0, os.geteuid()}
    if others and os.geteuid() != 0:
        users = ", ".join(user_name(uid) for uid in sorted(others))
        raise Fault(
            f"port {port} is {users}'s, and this host runs as {user_name(os.geteuid())}",
            "Another program took the port before this host could.",
            f"'ss -ltnp' as root names it: stop it, or change"
            f" {machine.loaded.place(variable)}.",
        )
    return ", ".join(f"{address} of {user_name(uid)}" for address, uid in sorted(set(found)))


def _listeners(port: int) -> list[tuple[str, int]]:
    """The addresses on which somebody listens on a port, and the number of the user who does."""
    found = []
    for version in ("", "6"):
        with suppress(FileNotFoundError):  # A machine without IPv6.
            for line in Path(f"/proc/net/tcp{version}").read_text().splitlines()[1:]:
                _, local, _, state, _, _, _, uid, *_ = line.split()
                address, _, number = local.rpartition(":")
                if state == _LISTENS and int(number, 16) == port:
                    found.append((shown_address(address), int(uid)))
    return found


def shown_address(digits: str) -> str:
    """An address as the kernel writes it, in the way that people do."""
    if not digits.strip("0"):
        return "every address"
    if len(digits) == 8:  # noqa: PLR2004 (IPv4, the lowest byte first)
        return ".".join(str(number) for number in reversed(bytes.fromhex(digits)))
    words = [bytes.fromhex(digits[start : start + 8])[::-1] for start in range(0, 32, 8)]
    return str(ip_address(b"".join(words)))


def _disk(machine: Machine) -> str:
    """How much room is left where the host writes; each disk is told of once."""
    seen: dict[int, str] = {}
    for variable, folder in machine.folders.items():
        existing = _existing(folder)
        usage, device = shutil.disk_usage(existing), existing.stat().st_dev
        if device in seen:
            continue
        free = f"{usage.free / GIB:.1f} GiB of {usage.total / GIB:.1f} GiB free at {existing}"
        if usage.free < min(LEAST_FREE_BYTES, usage.total * LEAST_FREE_SHARE):
            raise Fault(
                f"only {free}",
                "A disk that is full stops uploads, databases and logs.",
                f"Free some space ('du -xh --max-depth=2 {existing}', 'journalctl"
                f" --vacuum-size=200M'), or move what {machine.loaded.place(variable)} names.",
            )
        seen[device] = free
    return "; ".join(seen.values())


def _existing(folder: Path) -> Path:
    """The folder, or the one in which it will be made."""
    return next(path for path in (folder, *folder.parents) if path.exists())


def _folders(machine: Machine) -> str:
    for variable, folder in machine.folders.items():
        try:
            # What is not there is made at the first start.
            tempfile.TemporaryFile(dir=_existing(folder)).close()
        except OSError as error:
            user = user_name(os.geteuid())
            raise Fault(
                f"{folder} cannot be written by {user} ({error.strerror})",
                "The folder is missing, belongs to another user, or its disk is full or mounted"
                " read-only.",
                f"'chown -R {user}: {folder}' as root, or change"
                f" {machine.loaded.place(variable)}.",
            ) from None
    return ", ".join(str(folder) for folder in machine.folders.values()) + " can be written"


def _secrets(loaded: Loaded[Any]) -> str:
    """Whether each secret that is set is in a file that only this host can read."""
    if missing := sorted(_missing_secrets(loaded)):
        raise Fault(
            f"{', '.join(map(str, missing))}: not there",
            "It was removed, and a unit that loads it does not start: systemd only says 'Failed to"
            " set up credentials'.",
            "Restore it from a backup that has secrets; or start 'install' of the PEX file again,"
            " which makes a new secret, and an empty file for the address of a database.",
        )
    places = dict(_secret_files(loaded))
    for variable, file in places.items():
        with suppress(OSError):
            if file.stat().st_mode & stat.S_IROTH:
                raise Fault(
                    f"everybody on this machine can read {file}, which holds {variable}",
                    "The file was made without regard to who may read it.",
                    f"'chmod o= {file}' as root, and a new {variable} if others were here.",
                )
    if not places:
        raise NothingToCheck("none is set")
    return ", ".join(places)


def _missing_secrets(loaded: Loaded[Any]) -> Iterator[Path]:
    given = loaded.values.get(CREDENTIALS_DIRECTORY)
    if given is None:
        return
    layout = Layout(loaded.settings.host_name)
    for name in needed_credentials(layout):
        if not (Path(given.text) / name).exists():
            yield layout.credentials / name


def _secret_files(loaded: Loaded[Any]) -> Iterator[tuple[str, Path]]:
    for variable in _secret_variables(loaded):
        place = loaded.origin(variable).place
        if place.startswith("/"):
            yield variable, Path(place)


def _secret_variables(loaded: Loaded[Any]) -> Iterable[str]:
    for variable in loaded.settings.variables():
        value = getattr(loaded.settings, variable.lower())
        if isinstance(value, SecretStr):
            yield variable
