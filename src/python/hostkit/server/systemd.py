"""What the hosts ask of systemd: to start, stop and show units, to run commands as a service."""

import os
import shutil
import subprocess
import sys
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from hostkit.errors import HostError
from hostkit.server.layout import Layout

OLDEST = 250
LINES_OF_A_JOURNAL = 12

_BOOTED = Path("/run/systemd/system")
_BUS = Path("/run/dbus/system_bus_socket")
_PROPERTIES = {
    "ActiveState": "inactive",
    "Id": "",
    "Job": "",
    "LoadState": "",
    "MemoryCurrent": "",
    "NRestarts": "0",
    "NeedDaemonReload": "no",
    "Result": "",
    "StateChangeTimestamp": "",
    "SubState": "",
    "Type": "",
    "UnitFileState": "",
}


@dataclass(frozen=True)
class Unit:
    """A unit, as systemd sees it at one moment.

    `name`: for instance `api-host.service`.
    `loaded`: "loaded", "not-found", ...
    `active`: "active", "activating", "inactive", "failed", ...
    `sub`: the same more exactly, in the words of its kind.
    `enabled`: "enabled", "disabled", "static", ...
    `type`: of a service: "notify", "oneshot", ...
    `busy`: whether it is being started or stopped.
    `restarts`: how often systemd started a service again by itself.
    `result`: why a service ended: "success", "exit-code", "timeout", ...
    `since`: when it came to this state, as systemd writes it.
    `memory`: what it uses, in bytes; None if that is not known.
    `stale`: whether its files changed since systemd read them.
    """

    name: str
    loaded: str
    active: str
    sub: str
    enabled: str
    type: str
    busy: bool
    restarts: int
    result: str
    since: str
    memory: int | None
    stale: bool

    @property
    def is_running(self) -> bool:
        """Whether it is active, or on its way there or back."""
        return self.active not in ("inactive", "failed")

    @property
    def is_server(self) -> bool:
        """Whether it runs all the time, unlike a timer and what a timer starts."""
        return not self.name.endswith(".timer") and self.type != "oneshot"


def is_booted() -> bool:
    """Whether systemd runs this machine."""
    return _BOOTED.is_dir()


def is_booting() -> bool:
    """Whether this machine has not come up yet."""
    command = ["systemctl", "is-system-running"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    return done.stdout.strip() in ("initializing", "starting")


def has_bus() -> bool:
    """Whether there is D-Bus, through which commands are run as a service."""
    return _BUS.exists()


def version() -> int | None:
    """The version of systemd that is installed; None if there is none."""
    if shutil.which("systemctl") is None:
        return None
    words = systemctl("--version").split()  # systemd 252 (252.39-1~deb12u1)
    return int(words[1]) if len(words) > 1 and words[1].isdigit() else None


def systemctl(*arguments: str) -> str:
    """Runs `systemctl` and returns what it said. Raises `HostError`."""
    command = ["systemctl", *arguments]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        reason = " ".join(done.stderr.split()) or f"it ended with {done.returncode}"
        raise HostError(f"'systemctl {' '.join(arguments)}' failed: {reason}")
    return done.stdout


def units(host: str, names: Iterable[str]) -> list[Unit]:
    """The units of a host: those of the names that are given, and instances of its templates."""
    listed = systemctl("list-units", "--all", "--plain", "--no-legend", f"{host}@*.service")
    instances = [line.split()[0] for line in listed.splitlines() if line.strip()]
    asked = [name for name in sorted({*names, *instances}) if "@." not in name]
    if not asked:
        return []
    shown = systemctl("show", f"--property={','.join(_PROPERTIES)}", "--", *asked)
    return [_unit(block) for block in shown.strip().split("\n\n")]


def unit_names(paths: Iterable[str]) -> list[str]:
    """The names of the units among the files of a release."""
    return [name for path in paths if (name := unit_name(path)) is not None]


def unit_name(path: str) -> str | None:
    """The name of the unit that a file describes; None if it is no unit's."""
    parent, _, name = path.rpartition("/")
    return name if parent.endswith("systemd/system") else None


def _unit(block: str) -> Unit:
    found = dict(line.split("=", 1) for line in block.splitlines() if "=" in line)
    value = {name: found.get(name, default) for name, default in _PROPERTIES.items()}
    return Unit(
        name=value["Id"],
        loaded=value["LoadState"],
        active=value["ActiveState"],
        sub=value["SubState"],
        enabled=value["UnitFileState"],
        type=value["Type"],
        busy=value["Job"] not in ("", "0"),
        restarts=int(value["NRestarts"]),
        result=value["Result"],
        since=value["StateChangeTimestamp"],
        memory=int(value["MemoryCurrent"]) if value["MemoryCurrent"].isdigit() else None,
        stale=value["NeedDaemonReload"] == "yes",
    )


def journal(unit: str, *, since: float) -> list[str]:
    """The last lines that a unit has logged since a moment."""
    command = ["journalctl", "--quiet", "--no-pager", "--output=cat", f"--since=@{since:.0f}"]
    done = subprocess.run(
        [*command, f"--lines={LINES_OF_A_JOURNAL}", f"--unit={unit}"],
        capture_output=True,
        text=True,
        check=False,
    )
    return done.stdout.splitlines()


def credentials_in(unit: str, key: str = "LoadCredential") -> Iterator[str]:
    """The names of the credentials that the text of a unit loads, or has a default for."""
    for line in unit.splitlines():
        word, _, value = line.partition("=")
        if word.strip() == key:
            yield value.partition(":")[0].strip()


def needed_credentials(layout: Layout) -> set[str]:
    """The credentials without whose file an installed unit does not start (systemd.exec(5))."""
    texts = [path.read_text() for path in layout.units.glob(f"{layout.host}*.service")]
    return {
        name
        for text in texts
        for name in {*credentials_in(text)} - {*credentials_in(text, "SetCredential")}
    }


def is_for_the_service(layout: Layout) -> bool:
    """Whether this is root on a server, who can see what the service cannot, and no credentials."""
    return os.geteuid() == 0 and layout.current.exists() and is_booted() and has_bus()


def hand_over(host: str, *arguments: str) -> None:
    """Ends this command of an installed release, if it is root's, with what the service does of it.

    What root writes the service could not write again. A PEX that is not installed goes on itself.
    """
    layout = Layout(host)
    if Path(sys.prefix).is_relative_to(layout.product) and is_for_the_service(layout):
        sys.exit(run_as_service(layout, arguments).returncode)


def run_as_service(
    layout: Layout,
    arguments: Sequence[str],
    *,
    release: Path | None = None,
    capture: bool = False,
    stdin: str | None = None,
) -> subprocess.CompletedProcess[str]:
    """Runs a command of the host as its user, with its credentials, as its units do.

    `arguments`: for instance `["migrate"]`.
    `release`: the folder of the release whose command it is; by default the one that runs.
    `capture`: return what it says, instead of letting it speak to whoever called.
    `stdin`: what it reads, instead of what whoever called gives it.
    """
    folder = release or layout.current
    units_of_release = folder / "files" / layout.units.relative_to(layout.root)
    host = layout.host
    properties = {"User": host, "Group": host, "UMask": "0077", "WorkingDirectory": "/"}
    properties |= {"StateDirectory": host, "StateDirectoryMode": "0700"}
    command = ["systemd-run", "--quiet", "--pipe", "--wait", "--collect"]
    command += [f"--property={name}={value}" for name, value in properties.items()]
    command += [
        f"--property=LoadCredential={name}:{layout.credentials / name}"
        for name in _credentials_of(units_of_release)
        if (layout.credentials / name).exists()
    ]
    command += [f"--setenv={name}" for name in ("TERM", "NO_COLOR") if name in os.environ]
    return subprocess.run(
        [*command, "--", str(folder / "venv/pex"), *arguments],
        input=stdin,
        capture_output=capture,
        text=True,
        check=False,
    )


def _credentials_of(folder: Path) -> list[str]:
    texts = [path.read_text() for path in folder.glob("*.service")]
    return sorted({name for text in texts for name in credentials_in(text)})
