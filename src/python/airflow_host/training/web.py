"""Tables on web servers. The address that was checked is the one that is connected to."""

import base64
import contextlib
import ssl
import zlib
from collections.abc import Generator, Iterable, Iterator
from dataclasses import dataclass
from typing import Any
from urllib.request import getproxies, proxy_bypass

import httpcore
import httpx

from airflow_host.training import addresses
from airflow_host.training.addresses import Exempt
from airflow_host.training.deadline import Deadline
from airflow_host.training.errors import BadData

MOST_REDIRECTS = 5
CHUNK_BYTES = 1024 * 1024

_REDIRECTS = (301, 302, 303, 307, 308)
_SCHEMES = ("http", "https")


def read(uri: str, exempt: Iterable[Exempt], deadline: Deadline) -> Generator[bytes]:
    """The content of a URL, in pieces, unpacked where the server packed it.

    `exempt`: hosts that are asked whatever their addresses are.
    Raises `BadData`, `FileNotFoundError` and what the network raises.
    """
    url, context = _parse(uri, deadline.place), httpx.create_ssl_context()
    authorization = _authorization(url)
    for _ in range(MOST_REDIRECTS + 1):
        with (
            _pool(url, tuple(exempt), deadline, context) as pool,
            pool.stream("GET", _bare(url), headers=_headers(authorization)) as response,
        ):
            if response.status not in _REDIRECTS:
                yield from _content(response, deadline.place)
                return
            target = _parse(_target(url, response), deadline.place)
        if _origin(target) != _origin(url):
            authorization = None
        url, authorization = target, _authorization(target) or authorization
    raise OSError(f"it leads on more than {MOST_REDIRECTS} times")


class _Stream(httpcore.NetworkStream):
    """A connection of which no step goes on beyond the deadline: other timeouts do not count."""

    def __init__(self, stream: httpcore.NetworkStream, deadline: Deadline) -> None:
        self._stream = stream
        self._deadline = deadline

    def read(self, max_bytes: int, timeout: float | None = None) -> bytes:  # noqa: ARG002
        return self._stream.read(max_bytes, self._deadline.step())

    def write(self, buffer: bytes, timeout: float | None = None) -> None:  # noqa: ARG002
        self._stream.write(buffer, self._deadline.step())

    def close(self) -> None:
        self._stream.close()

    def start_tls(
        self,
        ssl_context: ssl.SSLContext,
        server_hostname: str | None = None,
        timeout: float | None = None,  # noqa: ARG002
    ) -> httpcore.NetworkStream:
        step = self._deadline.step()
        return _Stream(self._stream.start_tls(ssl_context, server_hostname, step), self._deadline)

    def get_extra_info(self, info: str) -> Any:
        return self._stream.get_extra_info(info)


@dataclass(frozen=True)
class _Network(httpcore.NetworkBackend):
    """Connects to allowed addresses only.

    `exempt`: hosts that are asked whatever their addresses are; None: an operator's proxy.
    """

    exempt: tuple[Exempt, ...] | None
    deadline: Deadline

    def connect_tcp(
        self,
        host: str,
        port: int,
        timeout: float | None = None,  # noqa: ARG002
        local_address: str | None = None,
        socket_options: Iterable[httpcore.SOCKET_OPTION] | None = None,
    ) -> httpcore.NetworkStream:
        hosts = [host]
        if self.exempt is not None:
            hosts = [str(one) for one in addresses.resolve(host, port, self.exempt)]
        failure: Exception = OSError(f"{host} has no address")
        for address in hosts:
            try:
                connection = httpcore.SyncBackend().connect_tcp(
                    address, port, self.deadline.step(), local_address, socket_options
                )
            except (httpcore.ConnectError, httpcore.ConnectTimeout) as error:
                failure = error
            else:
                return _Stream(connection, self.deadline)
        raise failure


def _pool(
    url: httpx.URL, exempt: tuple[Exempt, ...], deadline: Deadline, context: ssl.SSLContext
) -> httpcore.ConnectionPool:
    proxy = _proxy(url)
    if proxy is None:
        network = _Network(exempt, deadline)
        return httpcore.ConnectionPool(ssl_context=context, network_backend=network)
    with contextlib.suppress(OSError):  # A name that only the proxy knows.
        addresses.resolve(url.host, _origin(url)[2], exempt)
    user = (proxy.username.encode(), proxy.password.encode()) if proxy.username else None
    return httpcore.HTTPProxy(
        _bare(proxy),
        proxy_auth=user,
        ssl_context=context,
        network_backend=_Network(None, deadline),
    )


def _proxy(url: httpx.URL) -> httpx.URL | None:
    """The proxy that the environment names for a URL, as other programs read it."""
    if proxy_bypass(f"{url.host}:{_origin(url)[2]}"):
        return None
    given = getproxies()
    text = given.get(url.scheme) or given.get("all")
    if not text:
        return None
    proxy = httpx.URL(text if "://" in text else f"http://{text}")
    if proxy.scheme not in _SCHEMES:
        raise OSError(f"its proxy begins with {proxy.scheme}://, which is neither http nor https")
    return proxy


def _parse(uri: str, place: str) -> httpx.URL:
    try:
        url = httpx.URL(uri)
        _origin(url)
    except (httpx.InvalidURL, UnicodeError, ValueError):
        raise BadData(f"{place} is not a URL that can be asked") from None
    if url.scheme not in _SCHEMES:
        raise BadData(f"{place} leads to {url.scheme}://: a web address must stay one")
    if not url.host:
        raise BadData(f"{place} names no server: write https://server/table.csv")
    return url


def _target(url: httpx.URL, response: httpcore.Response) -> str:
    location = _header(response, b"location")
    try:
        return str(url.join(location))
    except (httpx.InvalidURL, UnicodeError, ValueError):
        raise OSError("it leads to something that is no URL") from None


def _content(response: httpcore.Response, place: str) -> Iterator[bytes]:
    if response.status == httpx.codes.NOT_FOUND:
        raise FileNotFoundError(place)
    if not httpx.codes.is_success(response.status):
        phrase = httpx.codes.get_reason_phrase(response.status)
        raise OSError(f"the server answered {response.status} {phrase}".strip())
    encoding = _header(response, b"content-encoding").lower()
    if encoding in ("", "identity"):
        return iter(response.iter_stream())
    if encoding in ("gzip", "x-gzip"):
        return _unpacked(response.iter_stream())
    raise OSError("the server packs it in a way that nobody asked for")


def _unpacked(packed: Iterable[bytes]) -> Iterator[bytes]:
    """What gzip packed, in pieces of a bounded size, however well it was packed."""
    unpacker = zlib.decompressobj(zlib.MAX_WBITS + 16)
    for chunk in packed:
        rest = chunk
        while rest and not unpacker.eof:
            yield unpacker.decompress(rest, CHUNK_BYTES)
            rest = unpacker.unconsumed_tail
    if not unpacker.eof or unpacker.unused_data:
        raise OSError("what the server packed is not whole")


def _headers(authorization: str | None) -> list[tuple[str, str]]:
    # A packed answer would be of any size.
    asked = [("Accept", "*/*"), ("Accept-Encoding", "identity"), ("User-Agent", "tripod")]
    return asked + ([("Authorization", authorization)] if authorization else [])


def _header(response: httpcore.Response, name: bytes) -> str:
    values = [value for key, value in response.headers if key.lower() == name]
    return values[0].decode("latin-1").strip() if values else ""


def _authorization(url: httpx.URL) -> str | None:
    if not url.userinfo:
        return None
    user = f"{url.username}:{url.password}".encode()
    return f"Basic {base64.b64encode(user).decode()}"


def _bare(url: httpx.URL) -> str:
    return str(url.copy_with(userinfo=b"", fragment=None))


def _origin(url: httpx.URL) -> tuple[str, str, int]:
    return url.scheme, url.host, url.port or {"http": 80}.get(url.scheme, 443)
