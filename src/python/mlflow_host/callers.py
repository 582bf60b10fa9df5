"""Who may call the server: the Host headers and the browser origins that MLflow is told to accept.

Every other Host header is refused, so that no website can reach the server through a visitor's
browser by a name of the website's own (DNS rebinding).
"""

import fcntl
import glob
import ipaddress
import socket
import struct
from collections.abc import Iterable
from contextlib import suppress
from urllib.parse import urlsplit

from mlflow_host.settings import MlflowSettings

_LOOPBACK = ("localhost", "127.0.0.1", "::1")
_PRIVATE = ("10.", "192.168.", "172.1[6-9].", "172.2[0-9].", "172.3[01].")
_DIGITS = ("[0-9]", "[0-9][0-9]", "[0-9][0-9][0-9]")
_SIOCGIFADDR = 0x8915  # Asks for the address of an interface: netdevice(7).


def allowed_hosts(settings: MlflowSettings, own_names: Iterable[str]) -> tuple[str, ...]:
    """The Host headers to accept, as patterns of `fnmatch`: our names, and private addresses.

    `own_names`: what this machine calls itself, as `own_names()` returns it.
    """
    names = [_bracketed(name) for name in (*_names(settings, own_names), *_LOOPBACK)]
    # MLflow's own pattern for a private network, 10.*, lets the website 10.evil.example through:
    # ours end with a number, as no domain does.
    private = [f"{network}*.{digits}" for network in _PRIVATE for digits in _DIGITS]
    private.append("[[]f[cd]*]")
    patterns = [*(glob.escape(name) for name in names), *private]
    return tuple(dict.fromkeys([*names, *private, *(f"{pattern}:*" for pattern in patterns)]))


def allowed_origins(settings: MlflowSettings, own_names: Iterable[str]) -> tuple[str, ...]:
    """The origins of the pages that may write: MLflow's UI, by each name of this server."""
    names = (_bracketed(name) for name in _names(settings, own_names))
    urls = (f"http://{name}:{settings.mlflow_port}" for name in names)
    return tuple(dict.fromkeys(_origin(url) for url in (_public_url(settings), *urls)))


def own_names() -> list[str]:
    """The name and the IPv4 addresses of this machine."""
    names = [socket.gethostname()]
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe, suppress(OSError):
        for _, interface in socket.if_nameindex():
            with suppress(OSError):  # An interface without an address.
                answer = fcntl.ioctl(probe, _SIOCGIFADDR, struct.pack("256s", interface.encode()))
                names.append(socket.inet_ntoa(answer[20:24]))
    return names


def _names(settings: MlflowSettings, own_names: Iterable[str]) -> list[str]:
    names = [urlsplit(_public_url(settings)).hostname or "", settings.mlflow_host, *own_names]
    # Within its own domain a machine is called by its first label too.
    short = [name.partition(".")[0] for name in names if not _is_address(name)]
    return list(dict.fromkeys(name.lower() for name in [*names, *short]))


def _public_url(settings: MlflowSettings) -> str:
    return str(settings.mlflow_public_url)


def _is_address(name: str) -> bool:
    try:
        ipaddress.ip_address(name)
    except ValueError:
        return False
    return True


def _bracketed(name: str) -> str:
    return f"[{name}]" if ":" in name else name


def _origin(url: str) -> str:
    """The Origin header of a page of this URL: without path, and without the scheme's own port."""
    parts = urlsplit(url)
    host = _bracketed(parts.hostname or "")
    default_port = {"http": 80, "https": 443}[parts.scheme]
    suffix = "" if parts.port in (None, default_port) else f":{parts.port}"
    return f"{parts.scheme}://{host}{suffix}"
