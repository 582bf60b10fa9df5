"""`./lab`: rehearse a deployment, an upgrade or a failure on Debian 12 servers on this machine."""

import os
from pathlib import Path
from typing import NoReturn

import click
from rich.console import Console

from dev_hosts.pexes import Pexes
from dev_hosts.progress import Progress
from hostkit.cli import HostGroup
from lab import base, programs
from lab.deployment import Deployment
from lab.errors import LabError
from lab.lab import FOLDER, Lab
from lab.network import WORLD

_SHELL = ("bash", "--login")

_NEXT_BARE = """
./lab put dist/api_host.pex api:/root/          copies a file to a host
./lab shell api                                 is a shell there, as root
./lab status                                    tells how they are
./lab down                                      ends it all\
"""

_NEXT = """
./lab shell world curl http://api:8000/         asks the API how it is
./lab shell api cat /root/lab.key               is the key that the API wants for the rest:
./lab shell world curl -X POST -H 'X-API-Key: ...' http://api:8000/v1/trainings
./lab shell api systemctl status api-host       is a command on a host
./lab cut api mlflow; ./lab status; ./lab heal  breaks the network, and mends it
./lab crash mlflow; ./lab boot mlflow           cuts the power, and gives it back
./lab down                                      ends it all\
"""


@click.group(cls=HostGroup)
@click.option(
    "--state",
    "folder",
    type=click.Path(path_type=Path, file_okay=False),
    default=FOLDER,
    show_default=True,
    metavar="DIR",
    help="Holds the hosts' disks while the lab is up; another folder is another lab.",
)
@click.option(
    "--dist",
    type=click.Path(path_type=Path, file_okay=False),
    default=Path("dist"),
    hidden=True,
    help="Where the PEX files are; ./lab says so.",
)
@click.pass_context
def main(context: click.Context, folder: Path, dist: Path) -> None:
    """Debian 12 servers with a real systemd on this machine, called mlflow, airflow and api.

    They reach each other by name, have no way out, and live until `down`. HOST may also be `world`:
    a client of theirs, with this machine's programs.
    """
    context.obj = folder
    context.default_map = {"up": {"pexes": dist}}


@main.command()
@click.option(
    "--with",
    "packages",
    multiple=True,
    metavar="PACKAGE",
    help="A Debian package that the hosts have besides; may be repeated.",
)
@click.option(
    "--pexes",
    type=click.Path(path_type=Path, file_okay=False),
    metavar="DIR",
    help="Install the PEX files of DIR as they are, and build nothing.",
)
@click.option("--no-install", is_flag=True, help="Leave the hosts as Debian made them.")
@click.pass_obj
def up(folder: Path, packages: tuple[str, ...], pexes: Path, *, no_install: bool) -> None:
    """Boot three hosts, install Tripod on them, and wait until it is ready."""
    progress = Progress(Console(stderr=True))
    to_install = None if no_install else Pexes.within(pexes)
    if not base.is_made(packages):
        progress.done(f"making the root file system {base.name(packages)}, once")
    lab = Lab(folder, root=base.find_or_make(packages))
    with progress.step("three hosts have booted"):
        lab.up()
    if to_install is not None:
        Deployment(lab, to_install, progress).put_in_place()
    click.echo(_NEXT_BARE if no_install else _NEXT)


@main.command()
@click.pass_obj
def down(folder: Path) -> None:
    """End all of it and leave nothing behind."""
    Lab(folder).down()


@main.command()
@click.pass_obj
def status(folder: Path) -> None:
    """Which hosts are on, what has failed on them, and what is broken between them."""
    lab = Lab.running(folder)
    for name, host in lab.hosts.items():
        if not host.is_on:
            click.echo(f"{name:<10} {host.address:<12} off")
            continue
        state = host.systemctl("is-system-running", check=False)
        free = host.disk.free() / 1024**3
        click.echo(f"{name:<10} {host.address:<12} {state}, {free:.1f} GiB free")
        for unit in host.failed_units():
            click.echo(f"{'':<10} {'':<12} {unit} has failed")
    for fault in lab.network.faults():
        click.echo(fault)


@main.command(context_settings={"ignore_unknown_options": True, "allow_interspersed_args": False})
@click.argument("host")
@click.argument("command", nargs=-1, type=click.UNPROCESSED)
@click.pass_obj
def shell(folder: Path, host: str, command: tuple[str, ...]) -> NoReturn:
    """Open a shell as root on HOST, or run COMMAND there; ends with its exit code."""
    lab = Lab.running(folder)
    words = command or _SHELL
    entered = lab.command(*words) if host == WORLD else lab[host].command(*words)
    term = {"TERM": os.environ.get("TERM", "dumb")}
    os.execvpe(entered[0], entered, {**programs.ENVIRONMENT, **term})  # noqa: S606


@main.command()
@click.argument("file", type=click.Path(path_type=Path, exists=True, dir_okay=False))
@click.argument("destination", metavar="HOST:PATH")
@click.pass_obj
def put(folder: Path, file: Path, destination: str) -> None:
    """Copy FILE to a host, as scp does; a PATH that ends with a slash is a folder."""
    host, path = split_destination(destination, file.name)
    Lab.running(folder)[host].put(file, path)


@main.command()
@click.argument("host")
@click.pass_obj
def crash(folder: Path, host: str) -> None:
    """Cut the power of HOST: what it has not synced to its disk is lost."""
    Lab.running(folder)[host].crash()


@main.command()
@click.argument("host")
@click.pass_obj
def boot(folder: Path, host: str) -> None:
    """Switch HOST on, and wait until it has booted."""
    click.echo(Lab.running(folder)[host].boot())


@main.command()
@click.argument("source")
@click.argument("destination")
@click.option("--one-way", is_flag=True, help="Only from SOURCE to DESTINATION.")
@click.pass_obj
def cut(folder: Path, source: str, destination: str, *, one_way: bool) -> None:
    """Let nothing through between two hosts."""
    Lab.running(folder).network.cut(source, destination, one_way=one_way)


@main.command()
@click.argument("host")
@click.argument("port", type=click.IntRange(1, 65535))
@click.pass_obj
def block(folder: Path, host: str, port: int) -> None:
    """Let nothing through to a port of HOST, as a firewall does."""
    Lab.running(folder).network.block(host, port)


@main.command()
@click.pass_obj
def heal(folder: Path) -> None:
    """Undo every `cut` and every `block`."""
    Lab.running(folder).network.heal()


@main.command()
@click.argument("source")
@click.argument("destination")
@click.argument("percent", type=click.IntRange(1, 100))
@click.option("--one-way", is_flag=True, help="Only from SOURCE to DESTINATION.")
@click.pass_obj
def loss(folder: Path, source: str, destination: str, percent: int, *, one_way: bool) -> None:
    """Drop a share of the packets between two hosts."""
    Lab.running(folder).network.lose(source, destination, percent, one_way=one_way)


@main.command()
@click.pass_obj
def calm(folder: Path) -> None:
    """Undo every `loss`."""
    Lab.running(folder).network.calm()


@main.command()
@click.argument("host")
@click.pass_obj
def unplug(folder: Path, host: str) -> None:
    """Pull the network cable out of HOST."""
    Lab.running(folder).network.unplug(host)


@main.command()
@click.argument("host")
@click.pass_obj
def plug(folder: Path, host: str) -> None:
    """Put the network cable back into HOST."""
    Lab.running(folder).network.plug(host)


@main.command()
@click.argument("host")
@click.option(
    "--free", default=0, metavar="BYTES", type=click.IntRange(0), help="What is to be left."
)
@click.pass_obj
def fill(folder: Path, host: str, free: int) -> None:
    """Take all room on the disk of HOST."""
    Lab.running(folder)[host].disk.fill(free)


@main.command()
@click.argument("host")
@click.pass_obj
def empty(folder: Path, host: str) -> None:
    """Give the room back that `fill` took."""
    Lab.running(folder)[host].disk.empty()


def split_destination(text: str, name: str) -> tuple[str, str]:
    """The host and the path of `HOST:PATH`, for a file that is called `name`."""
    host, colon, path = text.partition(":")
    if not (host and colon and path.startswith("/")):
        raise LabError(f"{text!r} names no file on a host: write HOST:/PATH")
    return host, path + name if path.endswith("/") else path


if __name__ == "__main__":
    main(prog_name="./lab")
