"""Where a request comes from: through proxies that are believed, and as whom it is counted."""

import ipaddress
from collections.abc import Iterable, Sequence
from functools import lru_cache
from typing import TypeAlias

Address: TypeAlias = ipaddress.IPv4Address | ipaddress.IPv6Address
Network: TypeAlias = ipaddress.IPv4Network | ipaddress.IPv6Network

SITE_BITS = 64
"""The part of an IPv6 address that says whose it is: of the rest, everybody has plenty."""

ADDRESS = "address:"
"""What the name of a caller begins with who shows neither a key nor a token."""


class Proxies:
    """Those whose word is taken for where a request comes from."""

    def __init__(self, networks: Iterable[Network]) -> None:
        self._networks = tuple(networks)
        self._is_one = lru_cache(1000)(self._look)

    def client(self, peer: str, forwarded: Sequence[str]) -> str:
        """The address of whoever asked.

        `peer`: who is connected.
        `forwarded`: what each header X-Forwarded-For says.

        Each proxy adds at the end whom it sees, so that only what stands behind the word of a
        stranger is true: the last one who is no proxy is the client.
        """
        client = _plain(peer)
        hops = [hop for line in forwarded for hop in line.split(",")] if forwarded else []
        while hops and self._is_one(client):
            before = _read(hops.pop())
            if before is None:
                break
            client = str(before)
        return client

    def _look(self, text: str) -> bool:
        address = _read(text)
        return address is not None and any(address in network for network in self._networks)


def read_networks(text: str) -> tuple[Network, ...]:
    """Reads `127.0.0.1, 10.0.0.0/24`. Raises `ValueError`."""
    found = []
    for part in filter(None, map(str.strip, text.split(","))):
        try:
            found.append(ipaddress.ip_network(part))
        except ValueError:
            raise ValueError(
                f"{part!r} is no address and no network: write for instance 10.0.0.7 or 10.0.0.0/24"
            ) from None
    return tuple(found)


@lru_cache(1000)
def counted(name: str) -> str:
    """The name by which a caller is counted: addresses of one IPv6 site are one caller."""
    address = _read(name.removeprefix(ADDRESS)) if name.startswith(ADDRESS) else None
    if address is None:
        return name
    if address.version == 4:  # noqa: PLR2004
        return f"{ADDRESS}{address}"
    site = ipaddress.ip_network((address, SITE_BITS), strict=False)
    return f"{ADDRESS}{site}"


def _plain(text: str) -> str:
    address = _read(text) if ":" in text else None
    return text if address is None else str(address)


def _read(text: str) -> Address | None:
    """The address in a hop, which may have a port."""
    text = text.strip()
    if text.startswith("["):
        text = text[1:].partition("]")[0]
    elif text.count(":") == 1:
        text = text.partition(":")[0]
    try:
        address = ipaddress.ip_address(text.partition("%")[0])
    except ValueError:
        return None
    if isinstance(address, ipaddress.IPv6Address) and address.ipv4_mapped:
        return address.ipv4_mapped
    return address
