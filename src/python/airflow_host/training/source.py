"""The bytes of a table, wherever they are: a path, `file://`, `http(s)://` or `s3://`."""

import hashlib
from collections.abc import Generator
from contextlib import closing

from airflow_host.training import bucket, files, web
from airflow_host.training.addresses import Exempt
from airflow_host.training.deadline import Deadline
from airflow_host.training.errors import BadData
from airflow_host.training.settings import TrainingSettings
from hostkit.network import public_url

_SCHEMES = ("file", "http", "https", "s3")


def read(uri: str, settings: TrainingSettings) -> bytes:
    """The content of a URI, if it may be read and is not too large."""
    place, most = public(uri), settings.training_max_bytes
    deadline = Deadline.start(place, settings.training_max_seconds)
    content = bytearray()
    try:
        with closing(_pieces(uri, settings, deadline)) as pieces:
            for piece in pieces:
                content += piece
                if len(content) > most:
                    break
    except BadData:
        raise
    except FileNotFoundError:
        raise BadData(f"{place} does not exist: check the path or the URL") from None
    except Exception as error:  # noqa: BLE001 (each kind of storage raises errors of its own)
        if deadline.is_over:
            raise deadline.missed() from None
        raise BadData(f"{place} cannot be read: {_reason(error)}") from None
    if len(content) > most:
        raise BadData(
            f"{place} has more than {most} bytes: take fewer rows, or raise"
            " TRAINING_MAX_BYTES in the env file of the airflow host"
        )
    return bytes(content)


def fingerprint(content: bytes) -> str:
    """What tells one table from another."""
    return hashlib.sha256(content).hexdigest()


def public(uri: str) -> str:
    """A URI for logs and tags, without what is secret in it."""
    return public_url(uri) or "the table's URL"


def _pieces(uri: str, settings: TrainingSettings, deadline: Deadline) -> Generator[bytes]:
    named_by_operator = uri in (settings.training_data_uri, str(settings.iris))
    scheme = _scheme(uri)
    if scheme in ("http", "https"):
        exempt = [Exempt.parse(text) for text in settings.training_data_hosts]
        if named_by_operator:
            exempt.append(Exempt.of_url(uri))
        return web.read(uri, exempt, deadline)
    if scheme == "s3":
        return bucket.read(uri, deadline)
    folders = None if named_by_operator else settings.training_data_folders
    return files.read(_path(uri), folders)


def _scheme(uri: str) -> str:
    scheme, separator, _ = uri.partition("://")
    if not separator and not uri.startswith("/"):
        raise BadData(
            f"the table's place {uri!r} is neither a URL nor an absolute path:"
            " write /path/table.csv, https://..., or s3://..."
        )
    if separator and scheme not in _SCHEMES and not uri.startswith("/"):
        known = ", ".join(f"{name}://" for name in _SCHEMES)
        raise BadData(f"{public(uri)} begins with {scheme}://: the table must be at {known}")
    return scheme if separator and not uri.startswith("/") else "file"


def _path(uri: str) -> str:
    """The path of a file, taken by its letters: `%2e` is three of them."""
    path = uri.removeprefix("file://").removeprefix("localhost") if "://" in uri else uri
    if not path.startswith("/"):
        raise BadData(f"{public(uri)} is on another machine: write file:///path/table.csv")
    return path


def _reason(error: Exception) -> str:
    if isinstance(error, OSError) and error.strerror:
        return error.strerror
    return " ".join(str(error).split()) or type(error).__name__
