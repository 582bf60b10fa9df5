"""What the API host tells of itself to the commands that all hosts have."""

from api_host.auth import keys
from api_host.auth.keys import SpoiledKeysError
from api_host.links import walks
from api_host.settings import ApiSettings
from hostkit.definition import Contents, Definition, Entrance, OwnFile
from hostkit.settings import Loaded

SECONDS_TO_ANSWER = 5.0


KEYS_ARE_BACK = (
    "The API keys are those of the backup: any that was revoked or rotated since is accepted again,"
    " and any that was added since is not. Look at 'sudo api-host keys list', and revoke what must"
    " not come back."
)


def _contents(loaded: Loaded[ApiSettings]) -> Contents:
    # The models on its disk are copies: it downloads them again.
    return Contents(files={"keys.json": OwnFile(loaded.settings.api_keys_file, KEYS_ARE_BACK)})


def _entrance(loaded: Loaded[ApiSettings]) -> Entrance:
    settings = loaded.settings
    return Entrance(
        url=settings.api_public_url,
        url_variable="API_PUBLIC_URL",
        address=settings.api_host,
        port=settings.api_port,
        max_body_bytes=None,  # A stream may have any length; for all else the host has a limit.
        # The host itself answers when its time is up; a proxy must not be quicker.
        timeout_seconds=settings.api_read_timeout_seconds
        + settings.limits.longest_seconds
        + SECONDS_TO_ANSWER,
        grpc_port=settings.api_grpc_port,
    )


def _to_run(loaded: Loaded[ApiSettings]) -> tuple[str, ...]:
    settings = loaded.settings
    if not settings.auth or settings.api_jwt_issuer is not None:
        return ()
    try:
        found = keys.read(settings.api_keys_file)
    except SpoiledKeysError:
        return ()  # The doctor says it.
    return () if found else ("api-host keys add NAME",)


DEFINITION = Definition(
    settings=ApiSettings,
    distributions=("scikit-learn", "skops", "starlette", "hypercorn"),
    unit="api-host.service",
    contents=_contents,
    entrance=_entrance,
    walks=walks,
    to_run=_to_run,
    address=("API_HOST", "API_PORT"),
)
