"""The configuration of a proxy that speaks TLS in front of a host, made from its settings."""

import re
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from urllib.parse import urlsplit

from hostkit.definition import Entrance
from hostkit.errors import HostError
from hostkit.outside.templates import filled

_DEFAULT_PORT = 443


class Proxy(StrEnum):
    """A program that can stand in front of a host."""

    NGINX = "nginx"
    CADDY = "caddy"
    TRAEFIK = "traefik"


_FILES = {
    Proxy.NGINX: "nginx.conf",
    Proxy.CADDY: "Caddyfile",
    Proxy.TRAEFIK: "traefik.yaml",
}


@dataclass(frozen=True)
class Certificate:
    """What a proxy shows to clients.

    `chain`: the file of the certificate and those between it and the CA, as PEM.
    `key`: the file of its private key.
    """

    chain: Path
    key: Path

    @classmethod
    def by_default(cls, host: str) -> "Certificate":
        """Where Debian keeps such files."""
        return cls(Path(f"/etc/ssl/certs/{host}.pem"), Path(f"/etc/ssl/private/{host}.key"))


def render(
    proxy: Proxy,
    host: str,
    entrance: Entrance,
    certificate: Certificate,
    *,
    client_ca: Path | None = None,
) -> str:
    """The configuration of a proxy in front of a host.

    `client_ca`: the file of the CA by which every client must have a certificate; None: none must.
    """
    values = _values(proxy, host, entrance, certificate)
    without = [] if entrance.grpc_port is not None else ["GRPC"]
    if client_ca is None:
        without.append("CLIENTS")
    else:
        without.append("ANYBODY")
        values["CLIENT_CA"] = _path(client_ca)
    if proxy is Proxy.TRAEFIK:
        values["TLS"] = "{}" if client_ca is None else f"{{options: {host}}}"
    return filled("proxy", _FILES[proxy], values, without=without)


def _values(
    proxy: Proxy, host: str, entrance: Entrance, certificate: Certificate
) -> dict[str, str]:
    authority, name, port = _public(host, entrance)
    values = {
        "AUTHORITY": authority,
        "CERTIFICATE": _path(certificate.chain),
        "HOST": host,
        "KEY": _path(certificate.key),
        "MAX_BODY": str(entrance.max_body_bytes or 0),
        "NAME": name,
        "PORT": str(port),
        "TIMEOUT": f"{entrance.timeout_seconds:.0f}",
        "UPSTREAM": _upstream(entrance, entrance.port),
    }
    if entrance.grpc_port is not None:
        values["GRPC_UPSTREAM"] = _upstream(entrance, entrance.grpc_port)
    if proxy is Proxy.NGINX:
        values["PREFIX"] = host.replace("-", "_")
    if proxy is Proxy.TRAEFIK:
        limit = [f"{host}-limit"] if entrance.max_body_bytes else []
        values["MIDDLEWARES"] = ", ".join([f"{host}-headers", *limit])
    return values


def _public(host: str, entrance: Entrance) -> tuple[str, str, int]:
    """The authority of the public URL, its name and its port."""
    variable = entrance.url_variable
    if entrance.url is None:
        raise HostError(
            f"{variable} is not set: say by which URL clients reach this host through the proxy,"
            f" for example {variable}=https://{host.partition('-')[0]}.example.com"
        )
    parts = urlsplit(entrance.url)
    name = parts.hostname or ""
    authority = parts.netloc.lower()
    if parts.scheme != "https":
        raise HostError(
            f"{variable} is {entrance.url!r}, but the proxy speaks TLS: set it to the URL by which"
            f" clients reach it, for example {variable}=https://{name}"
        )
    if parts.path:
        raise HostError(
            f"{variable} is {entrance.url!r}: a host has a name of its own, so the URL has no path"
        )
    return authority, f"[{name}]" if ":" in name else name, parts.port or _DEFAULT_PORT


def _upstream(entrance: Entrance, port: int) -> str:
    local = {"0.0.0.0": "127.0.0.1", "::": "::1"}  # noqa: S104 (not to listen on)
    address = local.get(entrance.address, entrance.address)
    return f"[{address}]:{port}" if ":" in address else f"{address}:{port}"


def _path(path: Path) -> str:
    text = str(path)
    if not re.fullmatch(r"/[\w./@+-]+", text):
        raise HostError(
            f"{text!r} cannot be written into a configuration: name an absolute path of letters,"
            " digits and './_@+-'"
        )
    return text
