"""What counts callers, from the start of a host to its end."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from api_host.rates.counters import Counter, LocalCounter
from api_host.rates.limiter import Limiter
from api_host.rates.presence import Presence
from api_host.rates.storage import Windows, open_counts
from api_host.settings import ApiSettings


@asynccontextmanager
async def limiting(settings: ApiSettings) -> AsyncIterator[Limiter]:
    """Holds callers to what they may ask. Raises `HostError`."""
    folder = settings.rates_folder
    with open_counts(folder) as counts:
        presence = Presence(counts, folder / "workers")
        counter = _counter(settings, LocalCounter(Windows(counts)))
        try:
            yield Limiter(settings.rates, settings.api_rate_guesses, counter, presence)
        finally:
            presence.close()
            await counter.close()


def _counter(settings: ApiSettings, local: LocalCounter) -> Counter:
    if settings.api_rates_url is None:
        return local
    # Imported here: most hosts do without.
    from api_host.rates.shared import SharedCounter  # noqa: PLC0415

    return SharedCounter(settings.api_rates_url.get_secret_value(), local)
