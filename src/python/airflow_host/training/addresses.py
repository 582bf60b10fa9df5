"""Which addresses a table may be fetched from.

Whoever asks for a training chooses the URL, but this host makes the request: what only this host
can reach must not be reached for somebody else. Private networks are where tables are, and are
allowed; this machine itself, its links and the metadata of its cloud are not, unless an operator
names them.
"""

import ipaddress
import socket
from collections.abc import Iterable
from contextlib import closing
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network
from typing import Self
from urllib.parse import urlsplit

from airflow_host.training.errors import BadData
from hostkit.network import is_host

Address = IPv4Address | IPv6Address
Network = IPv4Network | IPv6Network

METADATA = tuple(
    ipaddress.ip_address(text)
    for text in (
        "169.254.169.254",  # Most clouds.
        "169.254.170.2",  # Containers of Amazon's.
        "fd00:ec2::254",  # Amazon.
        "fd20:ce::254",  # Google.
        "100.100.100.200",  # Alibaba.
        "168.63.129.16",  # Azure.
        "192.0.0.192",  # Oracle.
    )
)
"""Where clouds tell a machine its secrets."""

_THIS_NETWORK = ipaddress.ip_network("0.0.0.0/8")
_BROADCAST = ipaddress.ip_address("255.255.255.255")
_COMPATIBLE = ipaddress.ip_network("::/96")
_TRANSLATED = (ipaddress.ip_network("64:ff9b::/96"), ipaddress.ip_network("64:ff9b:1::/48"))


@dataclass(frozen=True)
class Exempt:
    """A host that an operator allows whatever its address is.

    `host`: its name, in lower case, or its address or network.
    `port`: the only port of it; None for all.
    """

    host: str | Network
    port: int | None = None

    @classmethod
    def parse(cls, text: str) -> Self:
        """Reads `name`, `address` or `network`, with or without `:port`. Raises `ValueError`."""
        network = _network(text)
        if network:
            return cls(network)
        try:
            parts = urlsplit(f"//{text}")
            host, port = parts.hostname or "", parts.port
        except ValueError as error:
            raise ValueError(f"{text!r} is no host: {error}") from None
        if parts.netloc != text or "@" in text or not is_host(host):
            raise ValueError(f"{text!r} is no host: write a name, an address or a network")
        return cls(_network(host) or host, port)

    @classmethod
    def of_url(cls, url: str) -> Self:
        """The server that a URL names."""
        parts = urlsplit(url)
        host = parts.hostname or ""
        port = parts.port or {"http": 80, "https": 443}[parts.scheme]
        return cls(_network(host) or host, port)

    def covers(self, name: str, address: Address, port: int) -> bool:
        """Whether a connection to `address`, which `name` led to, is to this host."""
        if self.port not in (None, port):
            return False
        if isinstance(self.host, str):
            return self.host == name.lower().rstrip(".")
        return address in self.host


def fault(address: Address) -> str | None:
    """Why an address is not asked, in words that follow "is"; None where it may be."""
    if address in METADATA:
        return "where a cloud keeps the secrets of its machines"
    hidden = _hidden(address)
    if hidden is not None:
        return fault(hidden)
    for is_so, what in (
        (address.is_unspecified or address in _THIS_NETWORK, "no address of a server"),
        (address.is_loopback, "this machine itself"),
        (address.is_link_local, "an address of the local link"),
        (address.is_multicast or address == _BROADCAST, "an address of many machines"),
        (_is_own(address), "this machine itself"),
    ):
        if is_so:
            return what
    return None


def resolve(name: str, port: int, exempt: Iterable[Exempt]) -> list[Address]:
    """The addresses of a host, all of them allowed. Raises `BadData` and `OSError`."""
    found = socket.getaddrinfo(name, port, type=socket.SOCK_STREAM)
    addresses = list(dict.fromkeys(ipaddress.ip_address(entry[4][0]) for entry in found))
    for address in addresses:
        reason = fault(address)
        if reason and not any(one.covers(name, address, port) for one in exempt):
            shown = name if name == str(address) else f"{name}, which is {address},"
            raise BadData(
                f"no table is read from {shown} port {port}, because that is {reason}: if it is"
                f" meant, add {name}:{port} to TRAINING_DATA_HOSTS in the env file of the airflow"
                " host"
            )
    return addresses


def _network(text: str) -> Network | None:
    try:
        return ipaddress.ip_network(text)
    except ValueError:
        return None


def _hidden(address: Address) -> Address | None:
    """The IPv4 address that an IPv6 address only wraps."""
    if isinstance(address, IPv4Address):
        return None
    if address.ipv4_mapped or address.sixtofour:
        return address.ipv4_mapped or address.sixtofour
    wrapped = address in _COMPATIBLE and int(address) > 1
    if wrapped or any(address in network for network in _TRANSLATED):
        return IPv4Address(int(address) & 0xFFFFFFFF)
    return None


def _is_own(address: Address) -> bool:
    """Whether this machine has the address: no other can be bound to."""
    family = socket.AF_INET if isinstance(address, IPv4Address) else socket.AF_INET6
    try:
        with closing(socket.socket(family, socket.SOCK_DGRAM)) as probe:
            probe.bind((str(address), 0))
    except OSError:
        return False
    return True
