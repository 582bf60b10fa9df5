"""What a server costs: boot, install, install again, upgrade, and the way to the first prediction.

    ./pants package ::
    sudo ./pants run benchmarks/servers.py -- [--rounds 3] [--json FILE]

Every round boots three bare Debian 12 servers on this machine, as `./lab` does.
"""

import tempfile
import time
from collections.abc import Iterator
from itertools import chain
from pathlib import Path

import click
from rich.console import Console

from benchmarks.figures import Measurement, collect, output_option, show
from dev_hosts.journey import travel
from dev_hosts.pexes import Pexes
from dev_hosts.progress import Progress
from hostkit.cli import HostCommand
from lab.deployment import SERVERS, Deployment
from lab.lab import Lab
from lab.release import another

INSTALL_SECONDS = 900.0


@click.command(cls=HostCommand)
@click.option("--rounds", default=3, show_default=True, type=click.IntRange(1, 20))
@output_option
def main(rounds: int, output: Path | None) -> None:
    """Measure what three servers cost, in a lab on this machine."""
    progress = Progress(Console(stderr=True))
    found = Pexes.within(Path("dist"))
    measured = chain.from_iterable(_round(found, progress) for _ in range(rounds))
    show(collect(measured, progress), output)


def _round(pexes: Pexes, progress: Progress) -> Iterator[Measurement]:
    with tempfile.TemporaryDirectory(prefix="tripod-servers-") as folder:
        start = time.monotonic()
        with Lab(Path(folder) / "hosts") as lab:
            yield "boot of three bare servers", "s", time.monotonic() - start
            deployment = Deployment(lab, pexes, progress)
            for name, server in SERVERS.items():
                yield f"{server.product}, install", "s", _install(deployment, name)
            for name, server in SERVERS.items():
                yield f"{server.product}, install again", "s", _install(deployment, name)
            deployment.configure()
            began = time.monotonic()
            for name in SERVERS:
                deployment.start(name)
            for name in SERVERS:
                deployment.wait_until_ready(name)
            yield "all started and ready, one after the other", "s", time.monotonic() - began
            began = time.monotonic()
            travel(deployment, progress)
            yield "first training, served and asked for a prediction", "s", time.monotonic() - began
            yield "boot to first prediction, with all of that", "s", time.monotonic() - start
            for name, server in SERVERS.items():
                release = another(deployment.pex(name), Path(folder) / f"{name}.pex")
                yield f"{server.product}, upgrade", "s", _install(deployment, name, release)


def _install(deployment: Deployment, name: str, pex: Path | None = None) -> float:
    """How long the command takes; the copy to the server is not counted."""
    host, path = deployment.lab[name], "/root/host.pex"
    host.put(pex or deployment.pex(name), path)
    start = time.monotonic()
    host.run("python3", path, "install", seconds=INSTALL_SECONDS)
    return time.monotonic() - start


if __name__ == "__main__":
    main(prog_name="benchmarks/servers.py")
