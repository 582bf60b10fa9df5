"""The servers that are compared: how each is started with a model, and how it is asked."""

import json
import os
import socket
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from benchmarks.serving import protocols
from benchmarks.serving.models import Model
from benchmarks.serving.plan import Plan
from benchmarks.serving.protocols import Protocol
from dev_hosts.ports import LOOPBACK
from dev_hosts.process import Health, Program

WORKERS = Path("benchmarks/serving/workers.py")
FLOOR = Path("benchmarks/serving/floor.py")
BENTOML_FOLDER = Path("benchmarks/serving/peers")


@dataclass(frozen=True)
class Place:
    """Where everything is.

    `state`: the folder for env files and logs. `api`: the API's PEX. `mlflow_url`: the registry.
    `environments`: those of the peers, by name. `settings`: further lines of the API's env file.
    """

    state: Path
    api: Path
    mlflow_url: str
    environments: Mapping[str, Path] = field(default_factory=dict)
    settings: Mapping[str, str] = field(default_factory=dict)

    def variables(self, **more: str) -> dict[str, str]:
        """What a server sees of this process's environment, and more."""
        cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
        kept = {name: os.environ[name] for name in ("PATH", "LANG", "TMPDIR") if name in os.environ}
        return {
            "HOME": str(Path.home()),
            "PEX_ROOT": str(cache / "tripod" / "pex"),
            "MLFLOW_TRACKING_URI": self.mlflow_url,
            "MLFLOW_DISABLE_TELEMETRY": "true",
            "BENTOML_DO_NOT_TRACK": "True",
            **kept,
            **more,
        }


@dataclass(frozen=True)
class Start:
    """What is to be started: `workers` processes that serve `model`, on `port`."""

    place: Place
    model: Model
    workers: int
    port: int

    @property
    def folder(self) -> Path:
        """A folder of its own."""
        folder = self.place.state / f"{self.model.name}-{self.workers}-{self.port}"
        folder.mkdir(exist_ok=True)
        return folder


@dataclass(frozen=True)
class Server:
    """A kind of server.

    `name`: for a person. `protocol`: how it is asked. `program`: what is to run.
    `environment`: which peer's environment it needs, if any.
    """

    name: str
    protocol: Protocol
    program: Callable[[Start], Program]
    environment: str | None = None

    def plan(self, start: Start, *, rows: int, connections: int, seconds: float) -> Plan:
        """Asks a server that was started so, as often as it answers."""
        bodies, answers = self.protocol.bodies(start.model, rows)
        return Plan(
            port=start.port,
            path=self.protocol.path.format(name=start.model.name),
            bodies=bodies,
            answers=answers,
            answers_in=self.protocol.answers_in,
            connections=connections,
            seconds=seconds,
        )


ONE_CALLER = {
    "API_RATE_REQUESTS": "1000000",
    "API_RATE_ROWS": "1000000000",
    "API_RATE_CONCURRENT": "10000",
}
"""The client is one caller, and the limits for it are not what is measured; they are counted."""


def free_port() -> int:
    """A port that nothing listens on now."""
    with socket.socket() as listener:
        listener.bind((LOOPBACK, 0))
        port: int = listener.getsockname()[1]
        return port


def _tripod(start: Start) -> Program:
    env_file = start.folder / "env"
    lines = {
        "API_HOST": LOOPBACK,
        "API_PORT": str(start.port),
        "STATE_DIRECTORY": str(start.folder / "models"),
        "MLFLOW_TRACKING_URI": start.place.mlflow_url,
        "AIRFLOW_BASE_URL": f"http://{LOOPBACK}:9",
        "MODEL_NAMES": start.model.name,
        "MODEL_NAME": start.model.name,
        **ONE_CALLER,
        **start.place.settings,
    }
    env_file.write_text("".join(f"{name}={value}\n" for name, value in lines.items()))
    words = ("serve", "--env-file", str(env_file))
    return _ours(start, "tripod", words, "/readyz", start.place.variables())


def _floor(start: Start) -> Program:
    variables = start.place.variables(PEX_INTERPRETER="1", API_PORT=str(start.port))
    return _ours(start, "floor", (str(FLOOR),), "/", variables)


def _ours(
    start: Start, name: str, words: Sequence[str], health: str, variables: Mapping[str, str]
) -> Program:
    pex, arguments = start.place.api, tuple(words)
    if start.workers > 1:
        command = (str(start.port), str(start.workers), str(pex), *arguments)
        pex, arguments = WORKERS, command
    return Program(
        name=name,
        pex=pex,
        arguments=arguments,
        environment=variables,
        log=start.folder / f"{name}.log",
        health=Health(f"http://{LOOPBACK}:{start.port}{health}"),
    )


def _mlflow(start: Start) -> Program:
    words = ("models", "serve", "--env-manager", "local", "--host", LOOPBACK)
    model = ("--model-uri", f"models:/{start.model.name}@champion")
    size = ("--port", str(start.port), "--workers", str(start.workers))
    return _peer(start, "mlflow", (*words, *model, *size), "/ping")


def _mlserver(start: Start) -> Program:
    settings = {
        "host": LOOPBACK,
        "http_port": start.port,
        "grpc_port": free_port(),
        "metrics_port": free_port(),
        "metrics_dir": str(start.folder / "metrics"),
        "environments_dir": str(start.folder / "environments"),
        "parallel_workers": start.workers,
    }
    model = {
        "name": start.model.name,
        "implementation": "mlserver_mlflow.MLflowRuntime",
        "parameters": {"uri": str(start.model.folder)},
    }
    folder = start.folder / "mlserver"
    folder.mkdir()
    (folder / "settings.json").write_text(json.dumps(settings))
    (folder / "model-settings.json").write_text(json.dumps(model))
    health = f"/v2/models/{start.model.name}/ready"
    return _peer(start, "mlserver", ("start", str(folder)), health)


def _bentoml(start: Start) -> Program:
    address = ("--host", LOOPBACK, "--port", str(start.port))
    words = ("serve", "service:Model", "--working-dir", str(BENTOML_FOLDER), *address)
    variables = {
        "MODEL_FOLDER": str(start.model.folder),
        "MODEL_WORKERS": str(start.workers),
        "BENTOML_HOME": str(start.folder / "bentoml"),
    }
    return _peer(start, "bentoml", words, "/readyz", variables)


def _peer(
    start: Start,
    name: str,
    words: tuple[str, ...],
    health: str,
    variables: Mapping[str, str] | None = None,
) -> Program:
    binaries = start.place.environments[name] / "bin"
    path = f"{binaries.resolve()}:{os.environ.get('PATH', '')}"
    return Program(
        name=name,
        pex=binaries.resolve() / name,
        arguments=words,
        environment={**start.place.variables(**(variables or {})), "PATH": path},
        log=start.folder / f"{name}.log",
        health=Health(f"http://{LOOPBACK}:{start.port}{health}"),
        python=str(binaries.resolve() / "python"),
    )


SERVERS = {
    server.name: server
    for server in (
        Server("tripod", protocols.MLFLOW, _tripod),
        Server("tripod-v1", protocols.OURS, _tripod),
        Server("tripod-v2", protocols.OPEN_INFERENCE, _tripod),
        Server("mlflow", protocols.MLFLOW, _mlflow, "mlflow"),
        Server("mlserver", protocols.OPEN_INFERENCE, _mlserver, "mlserver"),
        Server("bentoml", protocols.BENTOML, _bentoml, "bentoml"),
        Server("floor", protocols.CONSTANT, _floor),
    )
}
"""By name. The API speaks three protocols: MLflow's, its own, and the Open Inference Protocol."""
