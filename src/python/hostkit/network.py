"""Addresses that an operator writes into an env file, checked as they are read."""

import ipaddress
import re
from typing import Annotated
from urllib.parse import urlsplit, urlunsplit

from pydantic import AfterValidator, Field

_LABEL = "[a-z0-9_]([a-z0-9_-]{0,61}[a-z0-9_])?"
_SCHEME = re.compile(r"\s*[a-z][a-z0-9+.-]*://", re.IGNORECASE)
_HOST_NAME = re.compile(rf"(?=.{{1,253}}$){_LABEL}(\.{_LABEL})*\.?", re.IGNORECASE | re.ASCII)


def is_host(text: str) -> bool:
    """Whether this is a name that a host can have, or an IP address."""
    try:
        ipaddress.ip_address(text)
    except ValueError:
        return _HOST_NAME.fullmatch(text) is not None
    return True


def is_loopback(host: str) -> bool:
    """Whether only this machine can reach a server that listens on `host`."""
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host.strip("[]")).is_loopback
    except ValueError:
        return False


def local_url(host: str, port: int) -> str:
    """Where this machine reaches a server of its own that listens on `host`."""
    host = {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(host, host)  # noqa: S104 (not to listen on)
    return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"


def redacted(text: str) -> str:
    """The text with the password of a URL in it hidden, for messages, logs and `config`."""
    before, at, after = text.rpartition("@")
    scheme = _SCHEME.match(before)
    user = re.match(r"[^:]*:", before[scheme.end() :] if scheme else before)
    if at and user:
        text = f"{scheme[0] if scheme else ''}{user[0]}***@{after}"
    return re.sub(r"([?&]password=)[^&]*", r"\1***", text, flags=re.IGNORECASE)


def public_url(text: str) -> str | None:
    """A URL for logs and tags: without a user, a password, or a signature in its query.

    What has no server, such as a path, stays. None where it cannot be understood.
    """
    try:
        parts = urlsplit(text)
    except ValueError:
        return None
    if not parts.netloc:
        return text
    return urlunsplit((parts.scheme, parts.netloc.rpartition("@")[2], parts.path, "", ""))


def _http_url(text: str) -> str:
    if "://" not in text:
        raise ValueError(f"a URL needs a scheme; try 'http://{text}'")
    try:
        parts = urlsplit(text)
        _ = parts.port  # Raises where the port is no number or out of range.
    except ValueError as error:
        raise ValueError(f"not a URL: {error}") from None
    if parts.scheme not in ("http", "https"):
        raise ValueError(f"the scheme is {parts.scheme!r}; it must be http or https")
    if any(character.isspace() for character in text):
        raise ValueError("a URL has no blanks")
    if not is_host(parts.hostname or ""):
        raise ValueError(
            f"{parts.hostname or ''!r} is no host: it must be a name of letters, digits, dots and"
            " hyphens, or an address"
        )
    if parts.username or parts.password:
        raise ValueError("a URL must not hold a user or password; they have settings of their own")
    if parts.query or parts.fragment:
        raise ValueError("the base URL of a server has no '?' and no '#'")
    return text.rstrip("/")


HttpUrl = Annotated[str, AfterValidator(_http_url)]
"""The base URL of a server, without a slash at its end."""

Port = Annotated[int, Field(ge=1, le=65535)]
"""A TCP port."""


def _listen_address(text: str) -> str:
    if not is_host(text):
        raise ValueError("write a bare name or address to listen on, without port or brackets")
    return text


ListenAddress = Annotated[str, AfterValidator(_listen_address)]
"""A name or an IP address to listen on: `127.0.0.1` for this machine only, `0.0.0.0` for all."""
