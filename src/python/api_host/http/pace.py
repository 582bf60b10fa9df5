"""How slow a client may be."""

from dataclasses import dataclass

KIBIBYTES = 1024

SLOWEST = 64 * KIBIBYTES
"""How many bytes of an answer a client must take in a second."""


@dataclass(frozen=True)
class Pace:
    """The slowest that is waited for.

    `seconds`: within which the headers of a request must be here.
    """

    seconds: float

    def seconds_for(self, size: int) -> float:
        """Within which a client must take so many bytes of an answer."""
        return self.seconds + size / SLOWEST
