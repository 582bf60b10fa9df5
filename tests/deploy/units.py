"""The files below deploy/systemd, and a folder in which they are where `install` puts them."""

import re
import shutil
from pathlib import Path

FOLDER = Path("deploy/systemd")
HOSTS = ("airflow-host", "api-host", "mlflow-host")
SUFFIXES = {".service", ".socket", ".target", ".timer"}
SYSTEMD = Path("/usr/lib/systemd/system")
"""The units of the distribution."""


def units(host: str) -> list[Path]:
    """The unit files of a host."""
    return sorted(path for path in (FOLDER / host).iterdir() if path.suffix in SUFFIXES)


def services(host: str) -> list[Path]:
    """Those that run something."""
    return [path for path in units(host) if path.suffix == ".service"]


def values(unit: Path, key: str) -> list[str]:
    """What a unit says under a key, once for each line."""
    return re.findall(rf"^{key}=(.*)$", unit.read_text(), re.MULTILINE)


def command(line: str, host: str) -> list[str] | None:
    """The words that the host's program is given by an `ExecStart=`."""
    program, *words = line.split()
    return words if program == f"/opt/{host}/current/venv/pex" else None


def put_in_place(host: str, root: Path) -> list[str]:
    """Makes the root of a server, and returns the names of the host's units there."""
    folder = root / "usr/local/lib/systemd/system"
    folder.mkdir(parents=True)
    shutil.copytree(SYSTEMD, root / SYSTEMD.relative_to("/"), symlinks=True)
    # `systemd-analyze` looks whether what is started is there.
    for program in (f"opt/{host}/current/venv/pex", "bin/sh"):
        (root / program).parent.mkdir(parents=True, exist_ok=True)
        (root / program).write_text("#!/bin/true\n")
        (root / program).chmod(0o755)
    for unit in units(host):
        shutil.copy(unit, folder)
    for service in services(host):
        drop_in = folder / f"{service.name}.d/10-hardening.conf"
        drop_in.parent.mkdir()
        shutil.copy(FOLDER / "hardening.conf", drop_in)
    return [unit.name for unit in units(host)]
