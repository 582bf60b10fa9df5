"""What the three hosts cost: build, size, start, memory at rest, and a model's way through them.

    ./pants run benchmarks/hosts.py -- [--cold] [--rounds 3] [--json FILE]

Every round starts MLflow's own server beside ours from the same PEX, so that their ratio holds on a
noisy machine. `--cold` also builds from an empty cache, which takes minutes.
"""

import dataclasses
import os
import shutil
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import chain
from pathlib import Path

import click
import httpx
import psutil
from rich.console import Console

from benchmarks.figures import Measurement, collect, output_option, show
from dev_hosts.hosts import Hosts
from dev_hosts.journey import travel
from dev_hosts.pexes import Pexes
from dev_hosts.ports import free_ports
from dev_hosts.process import Health, HostProcess, Program, kill_descendants
from dev_hosts.progress import Progress
from hostkit.cli import HostCommand

MEGABYTE = 10**6
START_SECONDS = 600.0
REST_SECONDS = 10.0
"""How long hosts do nothing before their memory is read."""


@click.command(cls=HostCommand)
@click.option("--rounds", default=3, show_default=True, type=click.IntRange(1, 20))
@click.option("--cold", is_flag=True, help="Also build from an empty cache.")
@output_option
def main(rounds: int, cold: bool, output: Path | None) -> None:
    """Measure what the three hosts cost on this machine."""
    progress = Progress(Console(stderr=True))
    measured = chain(_build(cold, progress), *(_round(progress) for _ in range(rounds)))
    try:
        figures = collect(measured, progress)
    finally:
        kill_descendants()
    show(figures, output)


def _build(cold: bool, progress: Progress) -> Iterator[Measurement]:
    if cold:
        with tempfile.TemporaryDirectory() as folder:
            empty = [f"--local-store-dir={folder}/store", f"--named-caches-dir={folder}/caches"]
            yield "package, empty cache", "s", _package(progress, *empty)
    _package(progress)
    yield "package, nothing changed", "s", _package(progress)
    for name, path in dataclasses.asdict(Pexes.within(Path("dist"))).items():
        yield f"{name}_host.pex", "MB", path.stat().st_size / MEGABYTE


def _package(progress: Progress, *options: str) -> float:
    start = time.monotonic()
    progress.waiting("packaging")
    subprocess.run(
        ["./pants", "--no-pantsd", *options, "package", "::"],
        check=True,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    return time.monotonic() - start


def _round(progress: Progress) -> Iterator[Measurement]:
    pexes = Pexes.within(Path("dist"))
    with _cache() as cache:
        for path in (pexes.mlflow, pexes.airflow, pexes.api):
            for start in ("first", "second"):
                yield f"{path.name} version, {start} start", "s", _version(path, cache)
    yield from _hosts(pexes, progress)
    yield from _mlflow_server(pexes)


@contextmanager
def _cache() -> Iterator[Path]:
    folder = Path(tempfile.mkdtemp())
    try:
        yield folder
    finally:
        shutil.rmtree(folder)


def _version(pex: Path, cache: Path) -> float:
    start = time.monotonic()
    environment = {**os.environ, "PEX_ROOT": str(cache)}
    subprocess.run([pex, "version"], check=True, env=environment, stdout=subprocess.DEVNULL)
    return time.monotonic() - start


def _hosts(pexes: Pexes, progress: Progress) -> Iterator[Measurement]:
    with _cache() as state, Hosts(state, pexes, free_ports()) as hosts:
        start = time.monotonic()
        hosts.start(progress)
        yield "all hosts, start with empty databases", "s", time.monotonic() - start
        journey = travel(hosts, progress)
        yield "request to a training to its end", "s", journey.seconds["train"]
        yield "end of a training to its champion being served", "s", journey.seconds["serve"]
        hosts.stop()
        start = time.monotonic()
        hosts.start(progress)
        yield "all hosts, second start", "s", time.monotonic() - start
        rested = time.monotonic() + REST_SECONDS
        while time.monotonic() < rested:
            hosts.check_running()
            progress.waiting("letting the hosts rest")
            time.sleep(0.5)
        at_rest = {name: _memory(hosts.process(name).pid) for name in hosts.names}
        for name, megabytes in at_rest.items():
            yield f"{name}, memory at rest (PSS)", "MB", megabytes
        yield "all hosts, memory at rest (PSS)", "MB", sum(at_rest.values())


def _mlflow_server(pexes: Pexes) -> Iterator[Measurement]:
    """MLflow's own `mlflow server`, from the same PEX, with its defaults."""
    port = free_ports().mlflow
    with _cache() as folder:
        arguments = ("server", "--port", str(port), "--backend-store-uri", f"sqlite:///{folder}/db")
        program = Program(
            name="mlflow server",
            pex=pexes.mlflow,
            arguments=(*arguments, "--artifacts-destination", str(folder / "artifacts")),
            environment={**os.environ, "PEX_MODULE": "mlflow"},
            log=folder / "log",
            health=Health(f"http://127.0.0.1:{port}/health"),
        )
        process = HostProcess(program)
        start = time.monotonic()
        with httpx.Client(trust_env=False) as client:
            while not process.is_healthy(client):
                if time.monotonic() - start > START_SECONDS:
                    raise process.fail("did not start")
                time.sleep(0.1)
        yield "beside it: mlflow server with its defaults, start", "s", time.monotonic() - start
        yield "beside it: mlflow server with its defaults, memory (PSS)", "MB", _memory(process.pid)
        process.stop()


def _memory(pid: int) -> float:
    """The proportional set size of a process and its descendants, in MB (proc_pid_smaps(5))."""
    parent = psutil.Process(pid)
    family = [parent, *parent.children(recursive=True)]
    return sum(float(member.memory_full_info().pss) for member in family) / MEGABYTE


if __name__ == "__main__":
    main(prog_name="benchmarks/hosts.py")
