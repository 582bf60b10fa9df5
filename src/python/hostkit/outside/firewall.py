"""The rules of a firewall that lets nobody in but a host's clients, made from its settings."""

import ipaddress
import socket
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from ipaddress import IPv4Network, IPv6Network
from urllib.parse import urlsplit

from hostkit.definition import Entrance
from hostkit.errors import HostError
from hostkit.network import is_host, is_loopback
from hostkit.outside.templates import filled

_HTTP = 80
_HTTPS = 443

Network = IPv4Network | IPv6Network


@dataclass(frozen=True)
class Peer:
    """Who may come in.

    `name`: as it was written.
    `reason`: who wrote it: a setting, or an option.
    `networks`: what it stands for.
    """

    name: str
    reason: str
    networks: tuple[Network, ...]


def render(host: str, entrance: Entrance, given: Sequence[str], *, ssh_port: int) -> str:
    """The rules for a host.

    `given`: addresses, networks and names of clients, besides those that the settings name.
    """
    ports, purpose = _ports(host, entrance)
    peers = _peers(host, entrance, given)
    networks = [network for peer in peers for network in peer.networks]
    values = {
        "ELEMENTS4": _elements(networks, IPv4Network),
        "ELEMENTS6": _elements(networks, IPv6Network),
        "HOST": host,
        "PEERS": "\n".join(_comment(peer) for peer in peers),
        "PORTS": ", ".join(str(port) for port in ports),
        "PURPOSE": purpose,
        "SSH": str(ssh_port),
        "TABLE": host.replace("-", "_"),
    }
    return filled("firewall", "nftables.conf", values)


def _ports(host: str, entrance: Entrance) -> tuple[tuple[int, ...], str]:
    """The ports to open: the proxy's where there is one; then the host's own stay closed."""
    parts = urlsplit(entrance.url or "")
    if parts.scheme == "https":
        port = parts.port or _HTTPS
        return (_HTTP, port), f", by its proxy; {_HTTP} only leads to {port}"
    if is_loopback(entrance.address):
        raise HostError(
            f"{host} listens on {entrance.address}, which only this machine reaches, and"
            f" {entrance.url_variable} names no proxy: there is no port to open; let it listen on"
            f" 0.0.0.0, or set {entrance.url_variable} to the https:// URL of a proxy"
        )
    grpc = entrance.grpc_port
    return (entrance.port,) if grpc is None else (entrance.port, grpc), ""


def _peers(host: str, entrance: Entrance, given: Sequence[str]) -> list[Peer]:
    peers = [
        _peer(urlsplit(url).hostname or "", variable) for variable, url in entrance.callers.items()
    ]
    peers += [_peer(text, "--from") for text in given]
    if not peers:
        raise HostError(
            f"who may call {host}? Its settings do not say: name addresses, networks or hosts,"
            " for example --from 10.0.0.2,10.0.0.3, or --from 0.0.0.0/0,::/0 for everybody"
        )
    return peers


def _peer(text: str, reason: str) -> Peer:
    try:
        return Peer(text, reason, (ipaddress.ip_network(text, strict=False),))
    except ValueError:
        pass
    if not is_host(text):
        raise HostError(
            f"{text!r} ({reason}) is no address, network or name: write 10.0.0.2, 10.0.0.0/24 or"
            " api.example.com"
        )
    try:
        found = socket.getaddrinfo(text, None, type=socket.SOCK_STREAM)
    except OSError as error:
        raise HostError(
            f"{text} ({reason}) is unknown here ({error.strerror}): write its address"
        ) from None
    addresses = dict.fromkeys(str(address[0]).partition("%")[0] for *_, address in found)
    return Peer(text, reason, tuple(ipaddress.ip_network(address) for address in addresses))


def _comment(peer: Peer) -> str:
    networks = ", ".join(str(network) for network in peer.networks)
    name = "" if peer.name == networks else f"{peer.name} is "
    return f"    # {name}{networks} ({peer.reason})"


def _elements(networks: Iterable[Network], kind: type[Network]) -> str:
    found = sorted({str(network) for network in networks if isinstance(network, kind)})
    if not found:
        return ""  # nft takes no empty list.
    return f"        elements = {{ {', '.join(found)} }}\n"
