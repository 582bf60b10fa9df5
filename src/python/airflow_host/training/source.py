"""The bytes of a table, wherever they are: a path, `file://`, `http(s)://` or `s3://`."""

import hashlib
from typing import Any
from urllib.parse import urlsplit, urlunsplit

import fsspec

from airflow_host.training.errors import BadData

_OPTIONS: dict[str, dict[str, Any]] = {
    "file": {},
    # Read from start to end: a server need not know the size, nor serve parts.
    "http": {"block_size": 0, "client_kwargs": {"trust_env": True}},
    "https": {"block_size": 0, "client_kwargs": {"trust_env": True}},
    "s3": {},
}


def read(uri: str, *, max_bytes: int) -> bytes:
    """The content of a URI, if it has no more than `max_bytes`."""
    scheme = _scheme(uri)
    try:
        with fsspec.open(uri, "rb", **_OPTIONS[scheme]) as stream:
            content: bytes = stream.read(max_bytes + 1)
    except FileNotFoundError:
        raise BadData(f"{public(uri)} does not exist: check the path or the URL") from None
    except Exception as error:  # noqa: BLE001 (each file system raises errors of its own)
        raise BadData(f"{public(uri)} cannot be read: {_reason(error)}") from None
    if len(content) > max_bytes:
        raise BadData(
            f"{public(uri)} has more than {max_bytes} bytes: take fewer rows, or raise"
            " TRAINING_MAX_BYTES in the env file of the airflow host"
        )
    return content


def fingerprint(content: bytes) -> str:
    """What tells one table from another."""
    return hashlib.sha256(content).hexdigest()


def public(uri: str) -> str:
    """A URI for logs and tags: without a user, a password, or a signature in its query."""
    parts = urlsplit(uri)
    if not parts.netloc:
        return uri
    return urlunsplit((parts.scheme, parts.netloc.rpartition("@")[2], parts.path, "", ""))


def _scheme(uri: str) -> str:
    scheme, separator, _ = uri.partition("://")
    if not separator:
        scheme = "file"
        if not uri.startswith("/"):
            raise BadData(
                f"the table's place {uri!r} is neither a URL nor an absolute path:"
                " write /path/table.csv, https://..., or s3://..."
            )
    if scheme not in _OPTIONS:
        known = ", ".join(f"{name}://" for name in _OPTIONS)
        raise BadData(f"{public(uri)} begins with {scheme}://: the table must be at {known}")
    return scheme


def _reason(error: Exception) -> str:
    if isinstance(error, OSError) and error.strerror:
        return error.strerror
    return " ".join(str(error).split()) or type(error).__name__
