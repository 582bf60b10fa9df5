"""How large the head of a request may be."""

from collections.abc import Sequence
from dataclasses import dataclass

from api_host.problems import HEADERS_TOO_LARGE, Problem


@dataclass(frozen=True)
class Heads:
    """The largest that is taken.

    `count`: of headers.
    `size`: in bytes, of the request's line and its headers.
    """

    count: int
    size: int

    def allow(self, headers: Sequence[tuple[bytes, bytes]]) -> bool:
        """Whether a request has no more, of HTTP/2, where its line is headers too."""
        if len(headers) > self.count:
            return False
        return sum([len(name) + len(value) for name, value in headers]) <= self.size

    @property
    def refusal(self) -> Problem:
        """What is said to a request that has more."""
        detail = f"a request may have {self.count} headers and {self.size} bytes of them"
        return Problem(HEADERS_TOO_LARGE, detail)
