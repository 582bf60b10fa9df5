"""The SHA-256 that a PEX file is to have, as whoever installs it was told."""

import re
from dataclasses import dataclass
from pathlib import Path

from hostkit.errors import HostError
from hostkit.server.pex import Pex

_SHA256 = re.compile("[0-9a-fA-F]{64}")
_LINE = re.compile(
    r"(?P<sha256>[0-9a-fA-F]{64}) [ *](?P<name>.+)"
    r"|SHA256 \((?P<tagged_name>.+)\) = (?P<tagged_sha256>[0-9a-fA-F]{64})"
)
"""As sha256sum writes it, without and with --tag."""


@dataclass(frozen=True)
class Checksum:
    """A SHA-256 to compare with.

    `sha256`: its 64 digits.
    `origin`: where it was found, for instance `SHA256SUMS line 2`.
    """

    sha256: str
    origin: str

    @classmethod
    def read(cls, given: str, name: str) -> "Checksum":
        """The one for the file `name`: `given` is itself one, or a file of sha256sum's.

        Raises `HostError`.
        """
        if _SHA256.fullmatch(given):
            return cls(given.lower(), "--verify")
        found = [
            cls(sha256.lower(), f"{given} line {number}")
            for number, line in enumerate(_lines(given), start=1)
            if (match := _LINE.fullmatch(line))
            and Path(match["name"] or match["tagged_name"]).name == name
            and (sha256 := match["sha256"] or match["tagged_sha256"])
        ]
        if not found:
            raise HostError(
                f"{given} has no line for {name}: name the file that was made by"
                f" 'sha256sum {name}', or give the 64 digits themselves"
            )
        if len({checksum.sha256 for checksum in found}) > 1:
            lines = " and ".join(checksum.origin.removeprefix(f"{given} ") for checksum in found)
            raise HostError(
                f"{given} has several SHA-256 of {name} ({lines}): give the 64 digits of the right"
                " one instead"
            )
        return found[0]

    def check(self, pex: Pex) -> None:
        """Raises `HostError` if the file is another one."""
        if pex.sha256 != self.sha256:
            raise HostError(
                f"{pex.path} is not the release that was asked for: its SHA-256 is {pex.sha256},"
                f" and {self.origin} says {self.sha256}. Nothing was changed: copy the file again"
                " from where the release was published"
            )


def verify(pex: Pex, given: str | None) -> None:
    """Raises `HostError` unless a file is the one that was asked for, if one was."""
    if given is not None:
        Checksum.read(given, pex.path.name).check(pex)


def _lines(given: str) -> list[str]:
    try:
        return Path(given).read_text(encoding="utf-8").splitlines()
    except FileNotFoundError:
        raise HostError(
            f"{given!r} is neither a SHA-256, which has 64 hexadecimal digits, nor a file: give one"
            " of them to --verify"
        ) from None
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "it is not text"
        raise HostError(
            f"{given} cannot be read ({reason}): name a file that was made by sha256sum"
        ) from None
