"""The three PEX files: where they are, and how they are built."""

import os
import subprocess
import time
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Self

from dev_hosts.errors import BuildError, DevError
from dev_hosts.progress import Progress

POLL_SECONDS = 0.1


@dataclass(frozen=True)
class Pexes:
    """The path of each host's PEX file."""

    mlflow: Path
    airflow: Path
    api: Path

    @classmethod
    def within(cls, folder: Path) -> Self:
        """The PEX files of a folder such as `dist`. Raises `DevError` if one is missing."""
        pexes = cls(**{host.name: folder / f"{host.name}_host.pex" for host in fields(cls)})
        missing = [
            path.name for path in (pexes.mlflow, pexes.airflow, pexes.api) if not path.is_file()
        ]
        if missing:
            raise DevError(f"{folder} lacks {', '.join(missing)}: run './pants package ::' first")
        return pexes


def build(repository: Path, search_path: str | None, log: Path, progress: Progress) -> Pexes:
    """Builds the PEX files that are out of date; Pants knows which.

    `search_path`: the PATH that Pants is to see; by default this process's.
    `log`: takes what Pants prints. Raises `BuildError` with its last lines.
    """
    pants = repository / "pants"
    if not pants.is_file():
        raise DevError(f"{pants} is missing: run this from the root of Tripod's repository")
    targets = [f"src/python/{host.name}_host:pex" for host in fields(Pexes)]
    with log.open("w") as output:
        building = subprocess.Popen(
            [pants, "package", *targets],
            cwd=repository,
            env={**os.environ, **({"PATH": search_path} if search_path else {})},
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
        )
        try:
            while building.poll() is None:
                progress.waiting("building the PEX files that are out of date")
                time.sleep(POLL_SECONDS)
        finally:
            building.terminate()
            building.wait()
    if building.returncode != 0:
        tail = "\n".join(log.read_text(errors="replace").splitlines()[-20:])
        raise BuildError(f"Pants could not build the PEX files; {log} ends with:\n{tail}")
    return Pexes.within(repository / "dist")
