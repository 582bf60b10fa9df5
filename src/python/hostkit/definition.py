"""What a host tells of itself, so that hostkit can give it the commands that all hosts have."""

import importlib.resources
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from importlib.resources.abc import Traversable
from pathlib import Path
from typing import Any

from hostkit.doctor.steps import Walk
from hostkit.rotation import Rotation
from hostkit.settings import Loaded, Settings


@dataclass(frozen=True)
class OwnFile:
    """A file beside the settings that the host's own commands write, and no secret is in.

    `path`: where it is; it need not be there.
    `once_restored`: what whoever has put back an older one must know of it.
    """

    path: Path
    once_restored: str


@dataclass(frozen=True)
class Contents:
    """What a host keeps, and a backup must hold.

    `database`: its URL as SQLAlchemy writes it, `sqlite:////PATH` or `postgresql...://`, if any.
    `folders`: the folders that belong to it, by the name that they have in a backup.
    `files`: the files that belong to its settings, by the name that they have there.
    """

    database: str | None = None
    folders: Mapping[str, Path] = field(default_factory=dict)
    files: Mapping[str, OwnFile] = field(default_factory=dict)


def _packed_unit_files() -> Traversable:
    return importlib.resources.files("deploy.systemd")


@dataclass(frozen=True)
class Entrance:
    """Where a host's clients come in.

    `url`: by which they reach it; None if nobody has said.
    `url_variable`: the setting that says.
    `address`, `port`: where it listens.
    `max_body_bytes`: the largest body that it takes; None: any.
    `timeout_seconds`: how long it may be silent before it answers, or in the middle of it.
    `callers`: the URLs of other hosts that call it, by the setting that names them.
    `grpc_port`: where it speaks gRPC; None: nowhere.
    """

    url: str | None
    url_variable: str
    address: str
    port: int
    max_body_bytes: int | None
    timeout_seconds: float
    callers: Mapping[str, str] = field(default_factory=dict)
    grpc_port: int | None = None


@dataclass(frozen=True)
class Definition:
    """A host.

    `settings`: the class of its settings, which names the host.
    `distributions`: whose versions `version` tells, for instance `("mlflow", "hypercorn")`.
    `unit`: what an operator starts and stops the whole host by, for instance `api-host.service`.
    `contents`: what it keeps, as its settings say.
    `entrance`: where its clients come in, as its settings say.
    `secrets`: how the credentials are made that need nobody's choice, by name.
    `rotations`: how those credentials are replaced that need more than to be written anew.
    `migrates`: whether it has a database whose schema its command `migrate` upgrades.
    `address`: the settings that say where it listens: of the address, and of the port.
    `walks`: what its doctor examines: the host itself and its links.
    `to_run`: what its operator has to run yet, besides starting it, as the settings are.
    `unit_files`: the folder that has its unit files in a folder of its name.
    """

    settings: type[Settings]
    distributions: tuple[str, ...]
    unit: str
    contents: Callable[[Loaded[Any]], Contents]
    entrance: Callable[[Loaded[Any]], Entrance]
    secrets: Mapping[str, Callable[[], str]] = field(default_factory=dict)
    rotations: Mapping[str, Rotation] = field(default_factory=dict)
    migrates: bool = False
    address: tuple[str, str] | None = None
    walks: Callable[[Loaded[Any]], tuple[Walk, ...]] = lambda _: ()
    to_run: Callable[[Loaded[Any]], tuple[str, ...]] = lambda _: ()
    unit_files: Callable[[], Traversable] = _packed_unit_files

    @property
    def name(self) -> str:
        """The host's name, for instance `api-host`: of its user, its folders and its units too."""
        return self.settings.host_name
