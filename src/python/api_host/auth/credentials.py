"""What a request shows to say who asks: never in its URL, which logs keep."""

from collections.abc import Iterable

from api_host.auth.refusals import Reason, refused

AUTHORIZATION = "authorization"
API_KEY = "x-api-key"
BEARER = "bearer "

_AUTHORIZATION, _API_KEY = AUTHORIZATION.encode(), API_KEY.encode()


def of_headers(headers: Iterable[tuple[bytes, bytes]]) -> str | None:
    """The key or the token of a request over HTTP; None if it shows none. Raises `Problem`."""
    shown = None
    for name, value in headers:
        if name in (_AUTHORIZATION, _API_KEY):
            found = _of(value.decode("latin-1"), authorization=name == _AUTHORIZATION)
            shown = _one(shown, found)
    return shown


def of_metadata(metadata: Iterable[tuple[str, str | bytes]]) -> str | None:
    """The same of a call over gRPC."""
    shown = None
    for name, value in metadata:
        if name in (AUTHORIZATION, API_KEY) and isinstance(value, str):
            shown = _one(shown, _of(value, authorization=name == AUTHORIZATION))
    return shown


def _of(value: str, *, authorization: bool) -> str | None:
    if not authorization:
        return value.strip()
    # Another scheme is for a proxy on the way.
    return value[len(BEARER) :].strip() if value[: len(BEARER)].lower() == BEARER else None


def _one(before: str | None, found: str | None) -> str | None:
    if before is not None and found is not None and before != found:
        raise refused(Reason.SEVERAL, "the request shows more than one key or token")
    return before if found is None else found
