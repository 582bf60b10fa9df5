"""`./dev`: all three hosts on this machine, and a model's way through them."""

import json
import signal
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from types import FrameType

import click
from rich.console import Console

from dev_hosts.hosts import Hosts, make_state
from dev_hosts.journey import Journey, travel
from dev_hosts.logs import follow
from dev_hosts.pexes import Pexes, build
from dev_hosts.ports import Ports, free_ports
from dev_hosts.process import kill_descendants
from dev_hosts.progress import Progress
from hostkit.cli import HostCommand
from hostkit.options import json_option

EXIT_INTERRUPTED = 130


def _ports(_context: click.Context, _option: click.Parameter, text: str) -> Ports:
    if text == "auto":
        return free_ports()
    try:
        mlflow, airflow, api, grpc = (int(number) for number in text.split(","))
    except ValueError:
        raise click.BadParameter(
            f"{text!r} is neither 'auto' nor four ports like '5000,8080,8000,8001'"
        ) from None
    return Ports(mlflow, airflow, api, grpc)


@click.command(cls=HostCommand)
@click.option(
    "--once", is_flag=True, help="End after the prediction; exit code 0 only if all worked."
)
@click.option(
    "--ports",
    default="5000,8080,8000,8001",
    show_default=True,
    callback=_ports,
    metavar="MLFLOW,AIRFLOW,API,GRPC|auto",
    help="Where the hosts listen on this machine; 'auto' takes ports that are free.",
)
@click.option(
    "--state",
    type=click.Path(path_type=Path, file_okay=False),
    default=Path(".dev"),
    show_default=True,
    metavar="DIR",
    help="Keeps each host's env file, data and logs; a second start goes on with them.",
)
@click.option(
    "--pexes",
    "folder",
    type=click.Path(path_type=Path, file_okay=False, exists=True),
    metavar="DIR",
    help="Run the PEX files of DIR as they are, and build nothing.",
)
@click.option(
    "--repository",
    type=click.Path(path_type=Path, file_okay=False),
    default=Path(),
    hidden=True,
    help="Where Tripod's sources are; ./dev says so.",
)
@click.option("--search-path", hidden=True, help="PATH for the build, as ./dev was given it.")
@json_option
def main(
    *,
    once: bool,
    ports: Ports,
    state: Path,
    folder: Path | None,
    repository: Path,
    search_path: str | None,
    as_json: bool,
) -> None:
    """Run MLflow, Airflow and the API on this machine.

    Builds the three PEX files if they are out of date, starts every process from them, trains a
    model through the API, waits until it is served, predicts with it, and then shows the hosts'
    logs until Ctrl-C.
    """
    progress = Progress(Console(stderr=True))
    try:
        with _interrupted_by_signals():
            make_state(state)
            start = time.monotonic()
            if folder is None:
                log = state / "logs" / "build.log"
                pexes = build(repository, search_path, log, progress)
                progress.done("the PEX files are up to date", time.monotonic() - start)
            else:
                pexes = Pexes.within(folder)
            took = time.monotonic() - start
            _run(Hosts(state, pexes, ports), progress, took, once=once, as_json=as_json)
    except KeyboardInterrupt:
        raise SystemExit(EXIT_INTERRUPTED) from None
    finally:
        progress.stop()
        kill_descendants()


def _run(hosts: Hosts, progress: Progress, build: float, *, once: bool, as_json: bool) -> None:
    start = time.monotonic()
    with hosts:
        hosts.start(progress)
        started = time.monotonic()
        journey = travel(hosts, progress)
        progress.stop()
        seconds = {"build": build, "start": started - start, **journey.seconds}
        if as_json:
            click.echo(json.dumps(_document(hosts, journey, seconds), indent=2))
        else:
            _print_summary(hosts, journey, seconds)
        if not once:
            _stay_up(hosts, progress)


def _stay_up(hosts: Hosts, progress: Progress) -> None:
    progress.done("all hosts are up until Ctrl-C; their logs follow")
    with suppress(KeyboardInterrupt):
        logs = {name: hosts.log(name) for name in hosts.names}
        follow(logs, progress.console, hosts.check_running)
    progress.done("stopping")


@contextmanager
def _interrupted_by_signals() -> Iterator[None]:
    """Makes SIGTERM and a closed terminal end this program as Ctrl-C does."""

    def interrupt(_number: int, _frame: FrameType | None) -> None:
        raise KeyboardInterrupt

    for number in (signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, interrupt)
    yield


def _document(hosts: Hosts, journey: Journey, seconds: dict[str, float]) -> dict[str, object]:
    return {
        "urls": hosts.urls,
        "grpc": hosts.grpc,
        "model": journey.model.model_dump(include={"name", "version", "alias", "metrics"}),
        "prediction": {"rows": journey.model.example, **journey.prediction.model_dump()},
        "seconds": {step: round(took, 1) for step, took in seconds.items()},
    }


def _print_summary(hosts: Hosts, journey: Journey, seconds: dict[str, float]) -> None:
    user, password = hosts.credentials
    model = journey.model
    more = {
        "airflow": f" (user {user}, password {password})",
        "api": f" (gRPC at {hosts.grpc})",
    }
    for name, url in hosts.urls.items():
        _print_fact(name, f"{url}{more.get(name, '')}")
    _print_fact("model", f"{model.name} version {model.version}, alias {model.alias}")
    metrics = (f"{name} {value:.3g}" for name, value in model.metrics.items())
    _print_fact("metrics", ", ".join(metrics))
    _print_fact("decision", journey.outcome.reason)
    for row, answer in zip(model.example, journey.prediction.predictions, strict=True):
        _print_fact("prediction", f"{json.dumps(row)} -> {answer}")
    _print_fact("seconds", ", ".join(f"{step} {took:.1f}" for step, took in seconds.items()))


def _print_fact(name: str, value: str) -> None:
    click.echo(f"{name:<10}  {value}")


if __name__ == "__main__":
    main(prog_name="./dev")
