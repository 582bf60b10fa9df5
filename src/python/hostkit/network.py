"""Addresses that an operator writes into an env file, checked as they are read."""

import ipaddress
import re
from typing import Annotated
from urllib.parse import urlsplit

from pydantic import AfterValidator, Field


def is_loopback(host: str) -> bool:
    """Whether only this machine can reach a server that listens on `host`."""
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host.strip("[]")).is_loopback
    except ValueError:
        return False


_PASSWORD = re.compile(r"(://[^/?#@\s]*?:)[^\s]*(?=@)|([?&]password=)[^&#\s]*", re.IGNORECASE)


def redacted(text: str) -> str:
    """The text with the passwords of the URLs in it hidden, for messages, logs and `config`."""
    return _PASSWORD.sub(lambda match: f"{match[1] or match[2]}***", text)


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
    if not parts.hostname or any(character.isspace() for character in text):
        raise ValueError("a URL names a host, and has no blanks")
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
    if text.startswith("[") or "/" in text or any(character.isspace() for character in text):
        raise ValueError("write a bare name or address to listen on, without port or brackets")
    return text


ListenAddress = Annotated[str, AfterValidator(_listen_address)]
"""A name or an IP address to listen on: `127.0.0.1` for this machine only, `0.0.0.0` for all."""
