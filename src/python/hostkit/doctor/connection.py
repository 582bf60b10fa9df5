"""The first steps to any server: name, TCP, TLS, HTTP, and its clock beside ours."""

import re
import socket
import ssl
import time
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from functools import partial
from ipaddress import ip_address
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit, urlunsplit

import httpx

from hostkit.doctor.diagnosis import (
    Address,
    bad_certificate,
    explain,
    is_refusal,
    refused_certificate,
)
from hostkit.doctor.steps import STEP_SECONDS, Caution, Fault, NothingToCheck, Step
from hostkit.errors import HostError
from hostkit.link import Link
from hostkit.servers import SERVERS, Server
from hostkit.settings import Loaded
from hostkit.tls.client import show
from hostkit.tls.lives import Life, utc_now

TIMEOUT_SECONDS = 5.0
"""How long one thing of a step may take, so that it says itself what took so long."""

MOST_SKEW_SECONDS = 60.0
LONGEST_QUOTE = 120

_INVALID_HOST = "Invalid Host header"
REFUSAL_SECONDS = 1.0
MOST_OF_AN_ANSWER = 4096
REFUSED_BY_NGINX = b"SSL certificate"
_PLAIN_HTTP_SEEN_BY_NGINX = "plain HTTP request was sent to HTTPS port"
_NO_CHECK_TIME = 0x200000
"""X509_V_FLAG_NO_CHECK_TIME of OpenSSL, which Python has no name for."""

_FROM_A_PROXY = {502, 503, 504}


@dataclass(frozen=True)
class Target:
    """A server that is examined from here.

    `link`: which one, and where.
    `loaded`: the settings of this host, to tell where each is written.
    `trust_variables`: which name a file of CA certificates, for what this host calls it with.
    `identity_variables`: which name the file of the certificate and key that it shows.
    """

    link: Link
    loaded: Loaded[Any]
    trust_variables: tuple[str, ...] = ("SSL_CERT_FILE",)
    identity_variables: tuple[str, ...] = ("TLS_CERTIFICATE_FILE",)

    @property
    def server(self) -> Server:
        """The kind of server that it should be."""
        return self.link.server

    @property
    def setting(self) -> str:
        """The variable that names it, with file and line."""
        return self.loaded.place(self.link.variable)

    @property
    def address(self) -> Address:
        """The same for `explain`."""
        return Address(
            self.server,
            self.link.url,
            self.setting,
            self.loaded.place(self._trust),
            self.loaded.place(self._identity),
            shows=self._identity in self.loaded.values,
        )

    @property
    def description(self) -> str:
        """What is examined, and the setting that names it."""
        return f"{self.link.url} ({self.setting})"

    def trusted(self) -> ssl.SSLContext:
        """What this host believes and shows: the operator's files, or public CAs and nothing."""
        context = self._believing()
        value = self.loaded.values.get(self._identity)
        if value is not None:
            try:
                show(context, Path(value.text))
            except HostError as error:
                raise Fault(
                    str(error),
                    "It should hold the certificate that this host shows, and its key.",
                    f"Correct {self.loaded.place(self._identity)}, or make the file readable.",
                ) from None
        return context

    def _believing(self) -> ssl.SSLContext:
        value = self.loaded.values.get(self._trust)
        if value is None:
            return httpx.create_ssl_context(trust_env=False)
        try:
            return ssl.create_default_context(cafile=value.text)
        except (OSError, ssl.SSLError) as error:
            raise Fault(
                f"{value.text} cannot be used ({error.strerror or error})",
                "It should hold the certificates of the CAs to trust, as PEM.",
                f"Correct {self.loaded.place(self._trust)}, or make the file readable.",
            ) from None

    def ask(self, method: str, path: str, **options: Any) -> httpx.Response:
        """What the server answers, whatever that is. Raises `Fault` if it does not answer."""
        try:
            with httpx.Client(verify=self._verification(), timeout=TIMEOUT_SECONDS) as client:
                return client.request(method, f"{self.link.url}{path}", **options)
        except httpx.HTTPError as error:
            raise explain(error, self.address) from None

    def _verification(self) -> ssl.SSLContext | bool:
        return self.trusted() if self.address.secure else False

    @property
    def _trust(self) -> str:
        given = [name for name in self.trust_variables if name in self.loaded.values]
        return given[0] if given else self.trust_variables[-1]

    @property
    def _identity(self) -> str:
        given = [name for name in self.identity_variables if name in self.loaded.values]
        return given[0] if given else self.identity_variables[-1]


def connection_steps(target: Target) -> tuple[Step, ...]:
    """From the name to an HTTP answer that only the right server gives."""
    return (
        Step("name", partial(_name, target.address)),
        Step("tcp", partial(_tcp, target.address)),
        Step("tls", partial(_tls, target)),
        Step("http", partial(_http, target), seconds=2 * STEP_SECONDS),
        Step("clock", partial(_clock, target)),
    )


def _name(address: Address) -> str:
    with suppress(ValueError):
        ip_address(address.host)
        raise NothingToCheck(f"{address.host} is an address")
    return ", ".join(_resolved(address))


def _resolved(address: Address) -> list[str]:
    try:
        found = socket.getaddrinfo(address.host, address.port, type=socket.SOCK_STREAM)
    except OSError as error:
        raise explain(error, address) from None
    return list(dict.fromkeys(str(item[4][0]) for item in found))


def _tcp(address: Address) -> str:
    with _connected(address) as connection:
        number, port, *_ = connection.getpeername()
        return f"connected to {number} port {port}"


def _connected(address: Address) -> socket.socket:
    """Connected to the first of its addresses that answers, as any client does."""
    numbers = _resolved(address)
    for number in numbers[:-1]:
        with suppress(OSError):
            return socket.create_connection((number, address.port), TIMEOUT_SECONDS / len(numbers))
    try:
        return socket.create_connection((numbers[-1], address.port), TIMEOUT_SECONDS / len(numbers))
    except TimeoutError:
        raise explain(httpx.ConnectTimeout("no connection"), address) from None
    except OSError as error:
        raise explain(error, address) from None


def _tls(target: Target) -> str:
    address = target.address
    if not address.secure:
        raise NothingToCheck("plain HTTP: what passes can be read on the way")
    context = target.trusted()
    try:
        with (
            _connected(address) as connection,
            context.wrap_socket(connection, server_hostname=address.host) as secured,
        ):
            certificate: dict[str, Any] = secured.getpeercert() or {}
            seen = f"{secured.version()}, {_described(certificate)}"
            _be_let_in(address, secured)
    except ssl.SSLCertVerificationError as error:
        known = _described(_unverified_certificate(address))
        raise bad_certificate(address, error, f" ({known})" if known else "") from None
    except OSError as error:
        # Go answers plain HTTP too, on a port for TLS.
        refused = is_refusal(error)
        if isinstance(error, ssl.SSLError) and not refused and (said := _plain_answer(address)):
            raise _plain_http(address, said) from None
        raise explain(error, address) from None
    if _life(certificate).is_late(utc_now()):
        raise Caution(
            seen,
            "The certificate ends soon, and nobody has renewed it yet.",
            f"Renew it ('tls renew' if the CA is your own), and reload the proxy in front of"
            f" {address.server.title}.",
        )
    return seen


def _be_let_in(address: Address, secured: ssl.SSLSocket) -> None:
    """Whether a request is answered: that a client is refused, TLS 1.3 says only then.

    Raises `Fault`, and `ssl.SSLError` for `explain`.
    """
    secured.settimeout(REFUSAL_SECONDS)
    answer = b""
    try:
        secured.sendall(
            f"GET {address.server.health_path} HTTP/1.1\r\nHost: {urlsplit(address.url).netloc}\r\n"
            "Connection: close\r\n\r\n".encode()
        )
        while len(answer) < MOST_OF_AN_ANSWER and (part := secured.recv(MOST_OF_AN_ANSWER)):
            answer += part
    except OSError as error:
        if is_refusal(error):
            raise
        # What we sent may have crossed its alert, which is then lost.
        lost = isinstance(error, ConnectionError | ssl.SSLError) and not answer
        if lost and secured.version() != "TLSv1.2":
            raise refused_certificate(address, "it hung up after the handshake") from None
        # All else is for the next step to tell.
    if REFUSED_BY_NGINX in answer:
        raise refused_certificate(address, "400 by nginx")


def _life(certificate: dict[str, Any]) -> Life:
    start, end = (
        datetime.fromtimestamp(ssl.cert_time_to_seconds(certificate[name]), UTC)
        for name in ("notBefore", "notAfter")
    )
    return Life(start, end)


def _described(certificate: dict[str, Any]) -> str:
    if not certificate:
        return ""
    end = datetime.fromtimestamp(ssl.cert_time_to_seconds(certificate["notAfter"]), UTC)
    days = (end - datetime.now(UTC)).days
    ends = f"{days} days left" if days >= 0 else "over"
    names = ", ".join(value for _, value in certificate.get("subjectAltName", ()))
    return (
        f"for {names or 'no name'}, valid until {end:%Y-%m-%d} ({ends}), by {_issuer(certificate)}"
    )


def _issuer(certificate: dict[str, Any]) -> str:
    fields = {name: value for part in certificate.get("issuer", ()) for name, value in part}
    return fields.get("commonName") or fields.get("organizationName") or "an unnamed CA"


def _unverified_certificate(address: Address) -> dict[str, Any]:
    """What a certificate says that is not accepted, to tell it to the operator."""
    try:
        content = _certificate_of(address)
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        context.check_hostname = False
        context.verify_flags |= ssl.VERIFY_X509_PARTIAL_CHAIN | ssl.VerifyFlags(_NO_CHECK_TIME)
        context.load_verify_locations(cadata=content)
        with (
            _connected(address) as connection,
            context.wrap_socket(connection, server_hostname=address.host) as secured,
        ):
            return dict(secured.getpeercert() or {})
    except (OSError, Fault):
        return {}


def _certificate_of(address: Address) -> bytes:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE  # Nothing is sent: it is only looked at.
    with (
        _connected(address) as connection,
        context.wrap_socket(connection, server_hostname=address.host) as secured,
    ):
        return secured.getpeercert(binary_form=True) or b""


def _plain_answer(address: Address) -> str:
    """What it says to plain HTTP, if it speaks that."""
    with suppress(OSError, Fault), _connected(address) as connection:
        connection.sendall(f"HEAD / HTTP/1.1\r\nHost: {address.host}\r\n\r\n".encode())
        answer = connection.recv(MOST_OF_AN_ANSWER)
        return answer.decode("latin-1") if answer.startswith(b"HTTP/") else ""
    return ""


def _plain_http(address: Address, said: str) -> Fault:
    """A port of plain HTTP, or the one of a proxy that leads from there to its TLS."""
    location = re.search(r"^Location: *(https://[^/\s]+)", said, re.IGNORECASE | re.MULTILINE)
    if location is None:
        return _wrong_scheme(address, "plain HTTP", "http")
    return Fault(
        f"{address.place} speaks plain HTTP, and leads to {location[1]}",
        f"A proxy speaks TLS in front of {address.server.title}, but not on this port.",
        f"Write {location[1]} into {address.setting}.",
    )


def _speaks_tls(address: Address) -> bool:
    with suppress(OSError, Fault):
        return bool(_certificate_of(address))
    return False


def _wrong_scheme(address: Address, spoken: str, scheme: str) -> Fault:
    url = urlunsplit((scheme, *urlsplit(address.url)[1:]))
    return Fault(
        f"{address.place} speaks {spoken}",
        f"{address.url} has the wrong scheme, or the port of something else.",
        f"Write {url} into {address.setting}.",
    )


def _http(target: Target) -> str:
    address, server = target.address, target.server
    try:
        response = target.ask("GET", server.probe_path, headers={"Accept": "application/json"})
    except Fault:
        if not address.secure and _speaks_tls(address):
            raise _wrong_scheme(address, "TLS", "https") from None
        raise
    if _says_who_it_is(response) and server.recognises(response):
        return f"{server.title} answers"
    raise _wrong_answer(target, response)


def _says_who_it_is(response: httpx.Response) -> bool:
    return response.is_success or response.status_code == httpx.codes.UNAUTHORIZED


def _wrong_answer(target: Target, response: httpx.Response) -> Fault:
    address = target.address
    if response.has_redirect_location:
        return _redirected(address, response)
    if _PLAIN_HTTP_SEEN_BY_NGINX in response.text:
        return _wrong_scheme(address, "TLS", "https")
    if _INVALID_HOST in response.text:
        return _refused_host(address)
    other = _recognised(target)
    if other is not None:
        return _another_server(address, other)
    return _stranger(address, response)


def _another_server(address: Address, other: Server) -> Fault:
    title = address.server.title
    return Fault(
        f"{address.url} is {other.title}, not {title}",
        "The ports or the names of two servers were mixed up.",
        f"Write the URL of {title} into {address.setting}.",
    )


def _stranger(address: Address, response: httpx.Response) -> Fault:
    """What none of the three servers answers, or one of them in trouble."""
    server, status = address.server, response.status_code
    seen = f"{address.url} answered {status} ({_quoted(response)})"
    if status in _FROM_A_PROXY:
        return Fault(
            seen,
            f"A proxy answers there, but {server.title} behind it does not.",
            f"On the server of {server.title}: 'systemctl status {server.unit}'; if it runs, load"
            f" what '{server.host} config proxy' prints now into the proxy.",
        )
    if status in (httpx.codes.UNAUTHORIZED, httpx.codes.FORBIDDEN):
        return Fault(
            seen,
            "Something there wants a password before it answers at all.",
            f"Let this server through without one at what asks for it (a proxy, or {server.title}"
            f" itself), or correct {address.setting}.",
        )
    if response.is_server_error and "html" not in response.headers.get("Content-Type", ""):
        return server_error(address, response)
    return Fault(
        f"{address.url}{urlsplit(server.probe_path).path} answered {status} ({_quoted(response)})",
        f"This is not {server.title} of Tripod: the port is another program's, or a proxy shows"
        " its default page because no site of it has this name.",
        f"Check name, port and path in {address.setting}; behind a proxy, its 'server_name' or"
        f" site address must be {address.host}.",
    )


def server_error(address: Address, response: httpx.Response) -> Fault:
    """The server is the right one, and failed."""
    server = address.server
    return Fault(
        f"{response.url.path} answered {response.status_code} ({_quoted(response)})",
        f"An error within {server.title}, which its log explains.",
        f"On the server of {server.title}: 'journalctl -u {server.unit}' and '{server.host}"
        " doctor'.",
    )


def _refused_host(address: Address) -> Fault:
    """MLflow answers only to names that it knows."""
    return Fault(
        f"403: {_INVALID_HOST}: MLflow does not go by the name {address.host}",
        f"MLflow was reached, but refuses requests for {address.host}, so that no web page can"
        " reach it by a name of its own. A proxy that does not pass on the Host header does it"
        " too.",
        f"On the server of MLflow: MLFLOW_PUBLIC_URL={address.url} in {address.server.env_file}"
        f" (or {address.host} among MLFLOW_SERVER_ALLOWED_HOSTS), then 'systemctl restart"
        f" mlflow-host'. If its name is another one, correct {address.setting}.",
    )


def _redirected(address: Address, response: httpx.Response) -> Fault:
    location = str(response.url.join(response.headers["Location"]))
    base = location.removesuffix(response.url.raw_path.decode())
    advice = (
        f"Write {base} into {address.setting}."
        if base != location
        else f"Write the URL that needs no redirect into {address.setting}."
    )
    return Fault(
        f"{address.url} answered {response.status_code} and leads to {location}",
        "A proxy sends callers elsewhere (mostly from http to https), and what a host sends there"
        " does not follow.",
        advice,
    )


def _recognised(target: Target) -> Server | None:
    """Which of the three servers it really is."""
    for server in SERVERS:
        with suppress(Fault):
            response = target.ask("GET", server.probe_path, headers={"Accept": "application/json"})
            if _says_who_it_is(response) and server.recognises(response):
                return server
    return None


def _quoted(response: httpx.Response) -> str:
    """What tells a person who it was that answered."""
    text = response.text
    if "<title>" in text:
        text = text.partition("<title>")[2].partition("</title>")[0]
    words = " ".join(text.split())
    if len(words) > LONGEST_QUOTE:
        words = f"{words[:LONGEST_QUOTE]}…"
    by = response.headers.get("Server")
    return ", ".join(filter(None, (words or "no text", by and f"Server: {by}")))


def _clock(target: Target) -> str:
    before = time.time()
    response = target.ask("HEAD", target.server.health_path)
    now = (before + time.time()) / 2
    try:
        theirs = parsedate_to_datetime(response.headers["Date"]).timestamp()
    except (KeyError, ValueError):
        raise NothingToCheck("the server does not tell the time") from None
    skew = theirs - now
    if abs(skew) <= MOST_SKEW_SECONDS:
        return f"within {max(1, round(abs(skew)))} s of this server's"
    who = target.server.title
    raise Fault(
        f"the clock of {who} is {abs(skew):.0f} s {'ahead of' if skew > 0 else 'behind'} this"
        f" server's ({datetime.fromtimestamp(theirs, UTC):%Y-%m-%d %H:%M:%S} and"
        f" {datetime.fromtimestamp(now, UTC):%Y-%m-%d %H:%M:%S} UTC)",
        "One of the two clocks is wrong: tokens and certificates are refused, and times in logs"
        " and runs do not agree.",
        "'timedatectl' on both servers shows which; there: 'timedatectl set-ntp true'.",
    )
