"""The bytes of a table, wherever they are: a path, `file://`, `http(s)://` or `s3://`."""

import hashlib
from collections.abc import Callable, Generator
from contextlib import closing
from urllib.parse import urlsplit, urlunsplit

import fsspec
import httpx

from airflow_host.training.errors import BadData

TIMEOUT_SECONDS = 30.0
"""For each step of a download, not for all of it."""

CHUNK_BYTES = 1024 * 1024


def read(uri: str, *, max_bytes: int) -> bytes:
    """The content of a URI, if it has no more than `max_bytes`."""
    content = bytearray()
    try:
        with closing(_reader(uri)(uri)) as chunks:
            for chunk in chunks:
                content += chunk
                if len(content) > max_bytes:
                    break
    except BadData:
        raise
    except FileNotFoundError:
        raise BadData(f"{public(uri)} does not exist: check the path or the URL") from None
    except Exception as error:  # noqa: BLE001 (each kind of storage raises errors of its own)
        raise BadData(f"{public(uri)} cannot be read: {_reason(error)}") from None
    if len(content) > max_bytes:
        raise BadData(
            f"{public(uri)} has more than {max_bytes} bytes: take fewer rows, or raise"
            " TRAINING_MAX_BYTES in the env file of the airflow host"
        )
    return bytes(content)


def fingerprint(content: bytes) -> str:
    """What tells one table from another."""
    return hashlib.sha256(content).hexdigest()


def public(uri: str) -> str:
    """A URI for logs and tags: without a user, a password, or a signature in its query."""
    parts = urlsplit(uri)
    if not parts.netloc:
        return uri
    return urlunsplit((parts.scheme, parts.netloc.rpartition("@")[2], parts.path, "", ""))


def _from_web(uri: str) -> Generator[bytes]:
    with httpx.stream("GET", uri, follow_redirects=True, timeout=TIMEOUT_SECONDS) as response:
        if response.status_code == httpx.codes.NOT_FOUND:
            raise FileNotFoundError(uri)
        if not response.is_success:
            raise OSError(f"the server answered {response.status_code} {response.reason_phrase}")
        yield from response.iter_bytes()


def _from_storage(uri: str) -> Generator[bytes]:
    with fsspec.open(uri, "rb") as stream:
        while chunk := stream.read(CHUNK_BYTES):
            yield chunk


_READERS = {"file": _from_storage, "http": _from_web, "https": _from_web, "s3": _from_storage}


def _reader(uri: str) -> Callable[[str], Generator[bytes]]:
    scheme, separator, _ = uri.partition("://")
    if not separator and not uri.startswith("/"):
        raise BadData(
            f"the table's place {uri!r} is neither a URL nor an absolute path:"
            " write /path/table.csv, https://..., or s3://..."
        )
    if separator and scheme not in _READERS:
        known = ", ".join(f"{name}://" for name in _READERS)
        raise BadData(f"{public(uri)} begins with {scheme}://: the table must be at {known}")
    return _READERS[scheme] if separator else _from_storage


def _reason(error: Exception) -> str:
    if isinstance(error, OSError) and error.strerror:
        return error.strerror
    return " ".join(str(error).split()) or type(error).__name__
