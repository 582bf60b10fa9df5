"""From when until when a certificate is valid, and when somebody must see to it."""

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

from hostkit.errors import HostError

_NOTICE = timedelta(days=21)


@dataclass(frozen=True)
class Life:
    """Of a certificate.

    `start`, `end`: the first and the last moment at which it is valid.
    """

    start: datetime
    end: datetime

    def left(self, now: datetime) -> timedelta:
        """How long it is still valid; negative when it is over."""
        return self.end - now

    def is_due(self, now: datetime) -> bool:
        """Whether to renew it: a third is left, or less."""
        return self.left(now) <= (self.end - self.start) / 3

    def is_late(self, now: datetime) -> bool:
        """Whether it should have been renewed: 21 days are left, or a quarter if that is less."""
        return self.left(now) < min(_NOTICE, (self.end - self.start) / 4)

    def describe(self, now: datetime) -> str:
        """Until when, for a person."""
        days = self.left(now).days
        return f"until {self.end:%Y-%m-%d} ({f'{days} days left' if days >= 0 else 'over'})"


def life_of_shown(file: Path) -> Life:
    """Of the certificate that a host shows: the first in its file. Raises `HostError`."""
    return _lives(file)[0]


def life_of_trusted(file: Path) -> Life:
    """Of a file of CAs: that of the one that ends last. Raises `HostError`.

    While one CA takes over from another, a file holds both.
    """
    return max(_lives(file), key=lambda life: life.end)


def _lives(file: Path) -> list[Life]:
    # Imported here: most hosts have no certificate to read, and it takes memory.
    from cryptography import x509  # noqa: PLC0415

    try:
        found = x509.load_pem_x509_certificates(file.read_bytes())
    except OSError as error:
        raise HostError(f"{file} cannot be read ({error.strerror})") from None
    except ValueError:
        raise HostError(f"{file} holds no certificate (PEM)") from None
    return [Life(item.not_valid_before_utc, item.not_valid_after_utc) for item in found]


def utc_now() -> datetime:
    """What time it is."""
    return datetime.now(UTC)
