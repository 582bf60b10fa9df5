"""How long it may take to fetch a table, from the first step to the last byte."""

import time
from dataclasses import dataclass

from airflow_host.training.errors import BadData

STEP_SECONDS = 30.0
"""For each step of a download, whatever is left for all of it."""


@dataclass(frozen=True)
class Deadline:
    """A moment, and how it was come by.

    `place`: what is fetched, for the sentence that says that it took too long.
    `seconds`: the span that it is allowed.
    `moment`: when it is over, by the monotonic clock.
    """

    place: str
    seconds: float
    moment: float

    @classmethod
    def start(cls, place: str, seconds: float) -> "Deadline":
        """From now on."""
        return cls(place, seconds, time.monotonic() + seconds)

    @property
    def is_over(self) -> bool:
        """Whether the time is up."""
        return time.monotonic() >= self.moment

    def step(self) -> float:
        """How long the next step may take. Raises `BadData` where nothing is left."""
        left = self.moment - time.monotonic()
        if left <= 0:
            raise self.missed()
        return min(left, STEP_SECONDS)

    def missed(self) -> BadData:
        """What is wrong where it was not kept."""
        return BadData(
            f"{self.place} was not read within {self.seconds:g} s: take fewer rows, or raise"
            " TRAINING_MAX_SECONDS in the env file of the airflow host"
        )
