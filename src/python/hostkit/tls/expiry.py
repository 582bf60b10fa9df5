"""When the certificates end that a host's settings name."""

from collections.abc import Iterator, Mapping
from contextlib import suppress
from pathlib import Path

from hostkit.errors import HostError
from hostkit.settings import Settings
from hostkit.tls.client import IDENTITY, TRUST
from hostkit.tls.lives import Life, life_of_shown, life_of_trusted

METRIC = "tripod_tls_certificate_expiry_timestamp_seconds"
METRIC_HELP = "When the certificates end that a setting names, in seconds since 1970."

_READERS = {TRUST: life_of_trusted, IDENTITY: life_of_shown}


def files_of(settings: Settings) -> dict[str, Path]:
    """The files that a host's settings name, by setting."""
    found = {variable: getattr(settings, variable.lower(), None) for variable in _READERS}
    return {variable: file for variable, file in found.items() if file is not None}


def life_of(variable: str, file: Path) -> Life:
    """Of what is in the file of a setting. Raises `HostError`."""
    return _READERS[variable](file)


def ends(files: Mapping[str, Path]) -> Iterator[tuple[str, float]]:
    """Each setting whose file can be read, with its end for the metric."""
    for variable, file in files.items():
        with suppress(HostError):
            yield variable, life_of(variable, file).end.timestamp()
