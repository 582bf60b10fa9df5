"""How a host's secrets are replaced by new ones: what a host tells of it, as data."""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Protocol


class Server(Protocol):
    """What the steps of a rotation do on a server."""

    def write(self, name: str, value: str) -> None:
        """Replaces a credential: its file has the former text or the new, and is root's only."""

    def users(self, name: str) -> tuple[str, ...]:
        """The units that run at the moment and have loaded a credential."""

    def restart(self, units: tuple[str, ...]) -> None:
        """Restarts those of the units that run, and returns when they are well."""

    def is_running(self, unit: str) -> bool:
        """Whether a unit runs."""

    def run(self, *arguments: str) -> None:
        """Runs a command of the host, as its service does. Raises `HostError` if it fails."""


@dataclass(frozen=True)
class Change:
    """A secret on its way to another value.

    `name`: of the credential.
    `former`: what it was; empty if it was not set.
    `new`: what it will be.
    """

    name: str
    former: str = field(repr=False)
    new: str = field(repr=False)


@dataclass(frozen=True)
class Step:
    """A part of a rotation, which does no harm if it is done again after an interruption.

    `name`: what is told of it, for instance "encrypt all values anew".
    `act`: does it.
    """

    name: str
    act: Callable[[Server, Change], None]


def write(server: Server, change: Change) -> None:
    """Writes the new value."""
    server.write(change.name, change.new)


def restart_users(server: Server, change: Change) -> None:
    """Restarts what has loaded the credential."""
    server.restart(server.users(change.name))


SWITCH = (Step("write it", write), Step("restart what uses it", restart_users))


@dataclass(frozen=True)
class Rotation:
    """How a secret is replaced.

    `use`: what it is for, in a few words.
    `make`: makes a new value; None: it comes from elsewhere, and the operator hands it over.
    `steps`: from the former value to the new one, and in the same way back.
    `effect`: what users notice, a sentence.
    `elsewhere`: what is to be done afterwards on another server, a sentence.
    """

    use: str
    make: Callable[[], str] | None = None
    steps: tuple[Step, ...] = SWITCH
    effect: str | None = None
    elsewhere: str | None = None
