"""What an error of the network means, and what mends it."""

import errno
import re
import socket
import ssl
from collections.abc import Iterator
from dataclasses import dataclass
from urllib.parse import urlsplit

import httpx

from hostkit.doctor.steps import Fault
from hostkit.servers import Server

_NO_ROUTE = {errno.EHOSTUNREACH, errno.ENETUNREACH, errno.EHOSTDOWN, errno.ENETDOWN}

# What OpenSSL says is wrong with a certificate (verify(1)).
_NOT_YET_VALID = 9
_EXPIRED = 10
_OTHER_NAME = {62, 64}

_NOT_LET_IN = re.compile("ALERT_(BAD_CERTIFICATE|CERTIFICATE_|UNSUPPORTED_CERTIFICATE|UNKNOWN_CA)")
"""What a server says of a client's certificate (RFC 8446, 6.2), as OpenSSL calls it."""


@dataclass(frozen=True)
class Address:
    """Where a server should be, and by which setting.

    `setting`: the variable with its file and line, as an operator finds it.
    `trust`: the same of the variable that names the CA certificates to trust.
    `identity`: the same of the one that names the certificate which this host shows.
    `shows`: whether it shows one.
    """

    server: Server
    url: str
    setting: str
    trust: str = "SSL_CERT_FILE"
    identity: str = "TLS_CERTIFICATE_FILE"
    shows: bool = False

    @property
    def host(self) -> str:
        """The name or the address in the URL."""
        return urlsplit(self.url).hostname or ""

    @property
    def port(self) -> int:
        """The port in the URL, or the scheme's own."""
        parts = urlsplit(self.url)
        return parts.port or {"http": 80, "https": 443}[parts.scheme]

    @property
    def secure(self) -> bool:
        """Whether TLS is spoken there."""
        return self.url.startswith("https:")

    @property
    def place(self) -> str:
        """Host and port, in words."""
        return f"{self.host} port {self.port}"


def explain(error: Exception, address: Address) -> Fault:
    """What an error of a socket, of TLS or of httpx means there."""
    for cause in _causes(error):
        fault = _explain(cause, address)
        if fault is not None:
            return fault
    return Fault(
        f"{address.url} cannot be reached ({error or type(error).__name__})",
        "The network refused it for a reason of its own.",
        f"Check {address.setting}, and 'ip route' on this server.",
    )


def _explain(cause: BaseException, address: Address) -> Fault | None:
    fault: Fault | None = None
    match cause:
        case httpx.ConnectTimeout():
            fault = _no_connection(address)
        case httpx.TimeoutException() | TimeoutError():
            fault = _silence(address)
        case socket.gaierror():
            fault = _unknown_name(address, cause.errno)
        case ssl.SSLCertVerificationError():
            fault = bad_certificate(address, cause)
        case ssl.SSLError() if is_refusal(cause):
            fault = refused_certificate(address, cause.reason)
        case ssl.SSLError():
            fault = _no_tls(address, cause)
        case ConnectionRefusedError():
            fault = _refused(address)
        case httpx.RemoteProtocolError() | ConnectionResetError() | BrokenPipeError():
            fault = _hung_up(address)
        case OSError() if cause.errno in _NO_ROUTE:
            fault = _no_route(address, cause)
    return fault


def _no_tls(address: Address, error: ssl.SSLError) -> Fault:
    return Fault(
        f"{address.place} does not speak TLS as this server does ({error.reason or error})",
        "It speaks something else, plain HTTP for instance, or only versions of TLS that are no"
        " longer safe.",
        f"Check scheme and port in {address.setting}, and the TLS settings of the proxy there.",
    )


def _no_route(address: Address, error: OSError) -> Fault:
    return Fault(
        f"there is no way to {address.place} ({error.strerror})",
        "This server has no route to that network, or the machine is off.",
        f"Check 'ip route' on this server, and the address in {address.setting}.",
    )


def _unknown_name(address: Address, number: int | None) -> Fault:
    if number == socket.EAI_AGAIN:
        return Fault(
            f"no name server answers when asked for {address.host}",
            "/etc/hosts of this server does not have the name, and the name servers that it is told"
            " to ask cannot be reached.",
            f"If the name is misspelt, correct {address.setting}. Otherwise check /etc/resolv.conf"
            f" on this server, or write a line 'ADDRESS {address.host}' into its /etc/hosts.",
        )
    return Fault(
        f"the name {address.host} is unknown",
        "It is misspelt, or neither DNS nor /etc/hosts of this server has it.",
        f"Correct {address.setting}, or enter the name: in DNS, or as a line"
        f" 'ADDRESS {address.host}' of /etc/hosts on this server.",
    )


def _refused(address: Address) -> Fault:
    server = address.server
    if address.secure:
        return Fault(
            f"{address.place} refuses connections",
            f"The machine is up but nothing listens there: the proxy in front of {server.title} is"
            " stopped, or speaks TLS on another port.",
            f"On the server of {server.title}: 'systemctl status nginx' (or caddy, or traefik), and"
            f" 'ss -ltn' for the port; if it is another one, correct {address.setting}.",
        )
    return Fault(
        f"{address.place} refuses connections",
        f"The machine is up but nothing listens there: {server.title} is stopped, listens on"
        " 127.0.0.1 only, or on another port.",
        f"On the server of {server.title}: 'systemctl status {server.unit}', and compare host and"
        f" port in {server.env_file} with {address.setting}.",
    )


def _no_connection(address: Address) -> Fault:
    server = address.server
    return Fault(
        f"{address.place} did not answer the connection",
        "A firewall drops the packets, the machine is off, or the address is not its own.",
        f"On the server of {server.title}: let this server through to port {address.port}"
        f" ('{server.host} config firewall' prints the rules). If it has another address, correct"
        f" {address.setting}.",
    )


def _silence(address: Address) -> Fault:
    server = address.server
    return Fault(
        f"{address.url} did not answer in time",
        f"{_sentence(server.title)} hangs or has too much to do, or what listens there is not"
        f" {server.title}.",
        f"On the server of {server.title}: 'systemctl status {server.unit}' and"
        f" 'journalctl -u {server.unit}'. If the port is wrong, correct {address.setting}.",
    )


def _hung_up(address: Address) -> Fault:
    server = address.server
    return Fault(
        f"{address.url} hung up without an answer",
        f"What listens there speaks something else, or {server.title} was just stopped.",
        f"Check scheme and port in {address.setting}; on the server of {server.title}:"
        f" 'journalctl -u {server.unit}'.",
    )


def bad_certificate(
    address: Address, error: ssl.SSLCertVerificationError, known: str = ""
) -> Fault:
    """Why a certificate is not accepted.

    `known`: what the certificate says of itself.
    """
    server = address.server
    reason = error.verify_message.rstrip(".")
    seen = f"the certificate of {address.host} is not accepted: {reason}{known}"
    match error.verify_code:
        case number if number == _EXPIRED:
            return Fault(
                seen,
                "It was not renewed in time (or the clock of this server is wrong).",
                f"On the server of {server.title}: renew the certificate ('tls renew' where the CA"
                " is, if it is your own) and reload the proxy that holds it. 'timedatectl' on this"
                " server tells of the clock.",
            )
        case number if number == _NOT_YET_VALID:
            return Fault(
                seen,
                "The clock of this server is behind, or the certificate was made on a server whose"
                " clock is ahead.",
                "'timedatectl' on both servers: 'timedatectl set-ntp true' where it is wrong.",
            )
        case number if number in _OTHER_NAME:
            return Fault(
                seen,
                f"{_sentence(server.title)} is called by a name that its certificate does not"
                " have.",
                f"Write a name that it has into {address.setting}, or have the certificate of"
                f" {server.title} made for {address.host} too.",
            )
    return Fault(
        seen,
        "It was signed by a CA that this server does not know: often one of your own.",
        f"Write the path of the CA's certificate (PEM) into {address.trust}.",
    )


def is_refusal(error: BaseException) -> bool:
    """Whether a server refuses this host's certificate, or wants one."""
    return isinstance(error, ssl.SSLError) and bool(_NOT_LET_IN.search(error.reason or ""))


def refused_certificate(address: Address, reason: str) -> Fault:
    """A server lets in only clients with a certificate of its CA."""
    server = address.server
    if not address.shows:
        return Fault(
            f"{address.place} wants a certificate of this host, and was shown none ({reason})",
            "Only callers that show a certificate of a certain CA are let in (mutual TLS).",
            f"Have one made where the CA is ('tls issue'), and write its path into"
            f" {address.identity}.",
        )
    return Fault(
        f"{address.place} does not accept this host's certificate ({reason})",
        f"It has expired, or another CA made it than the one that the proxy of {server.title}"
        " knows.",
        f"The step 'certificates' tells until when it is valid: 'tls renew' where the CA is, and"
        f" the new file where {address.identity} says. Otherwise on the server of {server.title}:"
        f" '{server.host} config proxy --client-ca' with the right CA.",
    )


def _sentence(text: str) -> str:
    return text[0].upper() + text[1:]


def _causes(error: BaseException) -> Iterator[BaseException]:
    cause: BaseException | None = error
    while cause is not None:
        yield cause
        cause = cause.__cause__ or cause.__context__
