"""Names and addresses of hosts, as certificates hold them."""

import ipaddress
from collections.abc import Iterable, Sequence

from cryptography import x509

from hostkit.errors import HostError
from hostkit.network import is_host

_EVERY_ADDRESS = ("0.0.0.0/0", "::/0")


def read_names(texts: Iterable[str]) -> list[x509.GeneralName]:
    """Names and addresses as an operator writes them, each once. Raises `HostError`."""
    return list(dict.fromkeys(_read_name(text) for text in texts))


def texts_of(names: Iterable[x509.GeneralName]) -> tuple[str, ...]:
    """The same as text."""
    return tuple(str(name.value) for name in names)


def constraints(texts: Sequence[str]) -> x509.NameConstraints:
    """What a CA may sign: these domains with all below them, these networks, and nothing else.

    Raises `HostError`.
    """
    permitted = [_read_realm(text) for text in texts]
    excluded: list[x509.GeneralName] = []
    # What a kind has no word of is allowed: names where there are only networks, for instance.
    if not any(isinstance(name, x509.DNSName) for name in permitted):
        excluded.append(x509.DNSName(""))
    if not any(isinstance(name, x509.IPAddress) for name in permitted):
        excluded += [x509.IPAddress(ipaddress.ip_network(text)) for text in _EVERY_ADDRESS]
    return x509.NameConstraints(permitted, excluded or None)


def allows(limits: x509.NameConstraints, name: x509.GeneralName) -> bool:
    """Whether a CA with these limits may sign for a name or an address."""
    excluded = any(_is_below(name, realm) for realm in limits.excluded_subtrees or ())
    realms = [realm for realm in limits.permitted_subtrees or () if type(realm) is type(name)]
    return not excluded and (not realms or any(_is_below(name, realm) for realm in realms))


def _is_below(name: x509.GeneralName, realm: x509.GeneralName) -> bool:
    match name, realm:
        case x509.DNSName(value=host), x509.DNSName(value=domain):
            return not domain or f".{host}".endswith(f".{domain}")
        case x509.IPAddress(value=address), x509.IPAddress(value=network):
            return ipaddress.ip_address(str(address)) in ipaddress.ip_network(str(network))
    return False


def _read_name(text: str) -> x509.GeneralName:
    name = text.strip().removesuffix(".").lower()
    try:
        return x509.IPAddress(ipaddress.ip_address(name))
    except ValueError:
        pass
    if is_host(name) and not name.rpartition(".")[2].isdigit():
        return x509.DNSName(name)
    raise HostError(
        f"{text!r} is no name and no address of a host: write mlflow.example.com or 10.0.0.2"
    )


def _read_realm(text: str) -> x509.GeneralName:
    try:
        return x509.IPAddress(ipaddress.ip_network(text.strip(), strict=False))
    except ValueError:
        return _read_name(text)
