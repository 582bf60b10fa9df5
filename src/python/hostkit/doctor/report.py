"""What a doctor found, as data: the JSON of `doctor --json` has this shape."""

from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from typing import Self

from pydantic import TypeAdapter


class Verdict(StrEnum):
    """How a step ended."""

    PASSED = "passed"
    FAILED = "failed"
    SKIPPED = "skipped"
    """There was nothing to check, which is no failure."""
    WARNED = "warned"
    """It went well, and will not for long."""


@dataclass(frozen=True)
class StepReport:
    """One step that was done.

    `name`: the step, as docs/doctor.md explains it.
    `seen`: what was seen.
    `milliseconds`: how long it took.
    `meaning`: what that usually means; only of a step that failed or warned.
    `remedy`: what mends it; only of a step that failed or warned.
    """

    name: str
    verdict: Verdict
    seen: str
    milliseconds: float
    meaning: str | None = None
    remedy: str | None = None


@dataclass(frozen=True)
class WalkReport:
    """A link, or the host itself, with its steps up to the first that failed.

    `target`: what was examined, and the setting that names it.
    """

    name: str
    target: str
    steps: tuple[StepReport, ...]

    @property
    def well(self) -> bool:
        """Whether no step failed."""
        return all(step.verdict is not Verdict.FAILED for step in self.steps)


@dataclass(frozen=True)
class Report:
    """Everything that was examined.

    `host`: whose doctor it was, for instance `api-host`.
    `at`: when.
    `well`: whether no step failed.
    """

    host: str
    at: datetime
    well: bool
    links: tuple[WalkReport, ...]

    @classmethod
    def of(cls, host: str, at: datetime, links: tuple[WalkReport, ...]) -> Self:
        """The report on these links."""
        return cls(host, at, all(link.well for link in links), links)

    def to_json(self, *, indent: int | None = None) -> str:
        """The report for a machine."""
        return _ADAPTER.dump_json(self, indent=indent).decode()

    @staticmethod
    def from_json(text: str | bytes) -> "Report":
        """The report that `to_json` wrote."""
        return _ADAPTER.validate_json(text)


_ADAPTER = TypeAdapter(Report)
