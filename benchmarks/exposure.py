"""How much each service may do, by systemd's own count: ours beside those that one would know.

    ./pants package ::
    ./pants run benchmarks/exposure.py -- [--json FILE]

Our units are those that `install --root` of the built PEXes writes. nginx and PostgreSQL are
Debian's units of this machine (apt install nginx-light postgresql). Airflow publishes units in its
repository, under scripts/systemd; what they say that counts is written down here.
"""

import dataclasses
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import click
from rich.console import Console

from benchmarks.figures import Measurement, collect, output_option, show
from dev_hosts.pexes import Pexes
from dev_hosts.progress import Progress
from hostkit.cli import HostCommand
from hostkit.errors import HostError

OURS = "usr/local/lib/systemd/system"
DISTRIBUTION = Path("/lib/systemd/system")
DEBIANS = {"nginx.service": "nginx.service", "postgresql@.service": "postgresql@15-main.service"}
"""Debian's unit files, and what they are called when they run."""

_AIRFLOW = "[Service]\nUser=airflow\nGroup=airflow\nType=simple\nExecStart=/bin/airflow {}\n"
AIRFLOWS = {
    "airflow-webserver.service": _AIRFLOW.format("webserver") + "PrivateTmp=true\n",
    "airflow-scheduler.service": _AIRFLOW.format("scheduler"),
}


@click.command(cls=HostCommand)
@output_option
def main(output: Path | None) -> None:
    """Show the exposure of every service, from 0 (may do nothing) to 10 (may do all)."""
    progress = Progress(Console(stderr=True))
    with tempfile.TemporaryDirectory() as folder:
        show(collect(_exposures(Path(folder), progress), progress), output)


def _exposures(root: Path, progress: Progress) -> Iterator[Measurement]:
    for folder in ("etc", "usr/bin"):  # What an image must have.
        (root / folder).mkdir(parents=True)
    (root / "usr/bin/python3.11").symlink_to(sys.executable)
    for name, pex in dataclasses.asdict(Pexes.within(Path("dist"))).items():
        progress.waiting(f"installing {name}-host into a folder")
        _run(str(pex), "install", "--root", str(root))
        for unit in sorted((root / OURS).glob(f"{name}-host*.service")):
            yield unit.name, "of 10", _exposure(root, unit.name)
    for file, service in DEBIANS.items():
        if not (DISTRIBUTION / file).exists():
            raise HostError(f"{DISTRIBUTION / file} is missing: apt install nginx-light postgresql")
        shutil.copy(DISTRIBUTION / file, root / OURS / service)
        yield f"Debian's {service}", "of 10", _exposure(root, service)
    for service, text in AIRFLOWS.items():
        (root / OURS / service).write_text(text)
        yield f"Airflow's {service}", "of 10", _exposure(root, service)


def _exposure(root: Path, service: str) -> float:
    words = ("security", "--offline=true", "--no-pager", service)
    said = _run("systemd-analyze", f"--root={root}", *words)
    found = re.search(r"Overall exposure level for \S+: ([\d.]+)", said)
    if found is None:
        raise HostError(f"systemd-analyze says nothing of {service}: {said}")
    return float(found[1])


def _run(*command: str) -> str:
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        raise HostError(f"{' '.join(command)} failed: {done.stderr.strip() or done.stdout.strip()}")
    return done.stdout


if __name__ == "__main__":
    main(prog_name="benchmarks/exposure.py")
