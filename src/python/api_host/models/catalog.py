"""What this host serves at this moment, and what the registry wants it to serve."""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime
from typing import TYPE_CHECKING, TypeVar

from api_host.models.registry import ModelVersion

if TYPE_CHECKING:  # Scikit-learn takes seconds to import: not before this host answers.
    from api_host.models.model import Model


T = TypeVar("T")


@dataclass(frozen=True, eq=False)
class Served:
    """A model version that is loaded; loaded again, it is another one.

    `alias`: by which it is followed; None for one that was asked for by its number.
    `since`: when it was loaded.
    """

    version: ModelVersion
    model: "Model"
    alias: str | None
    since: datetime


@dataclass
class Catalog:
    """The models by name. One request takes one `Served` out, once, and uses nothing else.

    `served`: what is served.
    `wanted`: the version of each model that the registry wants served.
    `created`: when each name was registered; another value means another model of that name.
    `aliases`: what the registry said last: for each name, the version of each alias.
    `problems`: why a model is not the one that the registry wants, a sentence each.
    `recovered`: whether the copies on disk have been loaded.
    `seen`: when the registry answered last; None if it has not since the start.
    `away`: why the registry did not answer just now; None if it did.
    """

    served: dict[str, Served] = field(default_factory=dict)
    wanted: dict[str, str] = field(default_factory=dict)
    created: dict[str, int] = field(default_factory=dict)
    aliases: dict[str, dict[str, str]] = field(default_factory=dict)
    problems: dict[str, str] = field(default_factory=dict)
    recovered: bool = False
    seen: datetime | None = None
    away: str | None = None

    @property
    def ready(self) -> bool:
        """Whether predictions can be made."""
        return self.recovered and bool(self.served)

    def limited_to(self, names: frozenset[str] | None) -> "Catalog":
        """The same without the models of other names. None: all of it."""
        if names is None:
            return self
        return replace(
            self,
            served=_only(self.served, names),
            wanted=_only(self.wanted, names),
            created=_only(self.created, names),
            aliases=_only(self.aliases, names),
            problems=_only(self.problems, names),
        )

    def names(self) -> list[str]:
        """Every model that is served or should be."""
        return sorted(self.served.keys() | self.wanted.keys() | self.problems.keys())


def _only(part: Mapping[str, T], names: frozenset[str]) -> dict[str, T]:
    return {name: each for name, each in part.items() if name in names}
