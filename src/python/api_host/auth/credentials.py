"""What a request shows to say who asks: never in its URL, which logs keep."""

import base64
import binascii
from collections.abc import Iterable

from api_host.auth.refusals import Reason, refused

AUTHORIZATION = "authorization"
API_KEY = "x-api-key"
BEARER = "bearer "
BASIC = "basic "

READING = frozenset({"GET", "HEAD"})
"""The methods with which a password of HTTP Basic is taken: they change nothing.

A browser sends it by itself, also where the page of another site makes it ask.
"""

_AUTHORIZATION, _API_KEY = AUTHORIZATION.encode(), API_KEY.encode()


def of_headers(headers: Iterable[tuple[bytes, bytes]], method: str) -> str | None:
    """The key or the token of a request over HTTP; None if it shows none. Raises `Problem`."""
    shown = basic = None
    for name, value in headers:
        if name in (_AUTHORIZATION, _API_KEY):
            text = value.decode("latin-1")
            if name == _AUTHORIZATION and _is(text, BASIC):
                basic = text[len(BASIC) :]
            else:
                shown = _one(shown, _of(text, authorization=name == _AUTHORIZATION))
    if shown is not None or basic is None:
        # Beside a key, HTTP Basic is for a proxy on the way.
        return shown
    if method not in READING:
        raise refused(Reason.BASIC, f"HTTP Basic is taken with GET and HEAD, and not with {method}")
    return _password(basic)


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
    return value[len(BEARER) :].strip() if _is(value, BEARER) else None


def _is(value: str, scheme: str) -> bool:
    return value[: len(scheme)].lower() == scheme


def _password(encoded: str) -> str:
    """The password of HTTP Basic, whoever its user; what cannot be read is one that nobody has."""
    try:
        _, _, password = base64.b64decode(encoded.strip(), validate=True).decode().partition(":")
    except (binascii.Error, ValueError):
        return ""
    return password.strip()


def _one(before: str | None, found: str | None) -> str | None:
    if before is not None and found is not None and before != found:
        raise refused(Reason.SEVERAL, "the request shows more than one key or token")
    return before if found is None else found
