"""What may be used within a window, and what is left of it."""

from dataclasses import dataclass
from typing import NamedTuple

import msgspec


@dataclass(frozen=True)
class Quota:
    """How much of something one caller may use.

    `name`: of what: `requests`, `rows`, `trainings`, `guesses`.
    `amount`: how much of it.
    `seconds`: within which.
    """

    name: str
    amount: int
    seconds: int


class Window(msgspec.Struct):
    """What was used lately: a sliding window, of two that follow each other.

    `previous`, `current`: how much was used in each.
    `previous_seconds`: how long some of the previous one counts still; also until the current one
    ends.
    `seconds`: how long one takes.
    """

    previous: int
    previous_seconds: float
    current: int
    seconds: int

    @property
    def used(self) -> int:
        """How much of a quota is used now."""
        return int(self.previous * self.previous_seconds / self.seconds) + self.current

    def left(self, quota: Quota) -> int:
        """How much may be used now."""
        return max(0, quota.amount - self.used)

    def seconds_until(self, amount: int, quota: Quota) -> float:
        """After how long so much, or all that there is, may be used, if nothing else is."""
        room = max(0, quota.amount - amount)
        if self.used <= room:
            return 0.0
        if self.current <= room:
            # The previous window fades until its rest fits.
            return self.previous_seconds - (room - self.current) / self.previous * self.seconds
        # The current one ends first, and then fades.
        return self.previous_seconds + self.seconds * (1 - room / self.current)


class Use(NamedTuple):
    """Whether something may be used, and what was used lately, with it."""

    may: bool
    window: Window
