"""What a doctor finds out about who may ask this host."""

from datetime import timedelta

from api_host.auth import keys
from api_host.auth.keys import Key, SpoiledKeysError
from api_host.settings import ApiSettings
from hostkit.doctor.steps import Fault
from hostkit.settings import Loaded

SOON = timedelta(days=14)


def check(loaded: Loaded[ApiSettings]) -> str:
    """Whether somebody can ask, for how long yet, and who needs no key. Raises `Fault`."""
    settings = loaded.settings
    if not settings.auth:
        if settings.is_reachable:
            return f"{loaded.place('API_AUTH')} is no: everybody who reaches this host may ask"
        return "off: only this machine reaches this host"
    found = _read(loaded)
    tokens = settings.api_jwt_issuer is not None
    if not found and not tokens:
        raise Fault(
            f"nobody can ask: callers must show a key, and {settings.api_keys_file} has none",
            "Off loopback this host answers only those whom it knows.",
            "Run 'sudo api-host keys add NAME' for each caller, and give it the key.",
        )
    _check_ends(found)
    count = f"{len(found)} {'key' if len(found) == 1 else 'keys'}"
    return f"{count}, and tokens of {settings.api_jwt_issuer}" if tokens else count


def _read(loaded: Loaded[ApiSettings]) -> tuple[Key, ...]:
    try:
        return keys.read(loaded.settings.api_keys_file)
    except SpoiledKeysError as error:
        raise Fault(
            str(error),
            "A running host accepts the keys of the last good file; a new one accepts none.",
            f"Mend the file that {loaded.place('API_KEYS_FILE')} names, or who may read it (the"
            " group api-host).",
        ) from None


def _check_ends(found: tuple[Key, ...]) -> None:
    soon = keys.now() + SOON
    ending = [key for key in found if key.is_expired(soon)]
    if ending:
        raise Fault(
            "; ".join(f"the key of {key.name} expires at {key.current.expires}" for key in ending),
            "From then on its callers are refused.",
            "Run 'sudo api-host keys rotate NAME --keep-old 1h --expires 90d' and give the new key"
            " to its callers, or 'keys revoke NAME' if there are none.",
        )
