"""What this host serves at this moment."""

from dataclasses import dataclass, field
from datetime import datetime
from typing import TYPE_CHECKING

from api_host.registry import ModelVersion

if TYPE_CHECKING:  # Scikit-learn takes seconds to import: not before this host answers.
    from api_host.model import Model


@dataclass(frozen=True)
class Served:
    """A model version that is loaded.

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

    `champions`: what is served.
    `aliases`: what the registry said last: for each name, the version of each alias.
    `problems`: why a model is not the one that the registry wants, a sentence each.
    `recovered`: whether the copies on disk have been loaded.
    `seen`: when the registry answered last; None if it has not since the start.
    `away`: why the registry did not answer just now; None if it did.
    """

    champions: dict[str, Served] = field(default_factory=dict)
    aliases: dict[str, dict[str, str]] = field(default_factory=dict)
    problems: dict[str, str] = field(default_factory=dict)
    recovered: bool = False
    seen: datetime | None = None
    away: str | None = None

    @property
    def ready(self) -> bool:
        """Whether predictions can be made."""
        return self.recovered and bool(self.champions)

    def names(self) -> list[str]:
        """Every model that is served or should be."""
        return sorted(self.champions.keys() | self.problems.keys())
