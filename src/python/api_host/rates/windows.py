"""What may be used within a window, and what is left of it."""

import math
from dataclasses import dataclass
from functools import cached_property

from limits import RateLimitItem, RateLimitItemPerSecond


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

    @cached_property
    def item(self) -> RateLimitItem:
        """The same for the library."""
        return RateLimitItemPerSecond(self.amount, self.seconds, namespace=self.name)


@dataclass(frozen=True)
class Window:
    """What was used lately: a sliding window, of two that follow each other.

    `previous`, `current`: how much was used in each.
    `previous_seconds`: how long some of the previous one counts still; also until the current one
    ends.
    """

    previous: int
    previous_seconds: float
    current: int

    def left(self, quota: Quota) -> int:
        """How much may be used now."""
        used = self.previous * self.previous_seconds / quota.seconds + self.current
        return max(0, quota.amount - math.floor(used))

    def seconds_until(self, amount: int, quota: Quota) -> float:
        """After how long so much, or all that there is, may be used, if nothing else is."""
        amount = min(amount, quota.amount)
        room = quota.amount - amount
        if self.left(quota) >= amount:
            return 0.0
        if self.current <= room:
            # The previous window fades until its rest fits.
            return self.previous_seconds - (room - self.current) / self.previous * quota.seconds
        # The current one ends first, and then fades.
        return self.previous_seconds + quota.seconds * (1 - room / self.current)
