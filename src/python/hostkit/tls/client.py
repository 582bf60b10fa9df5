"""What a host trusts when it calls another by TLS, and the certificate that it shows there."""

import asyncio
import ssl
from pathlib import Path

import httpx
import structlog

from hostkit.errors import HostError

TRUST = "SSL_CERT_FILE"
IDENTITY = "TLS_CERTIFICATE_FILE"

SECONDS_BETWEEN_LOOKS = 10.0

_log = structlog.get_logger("hostkit.tls")

_Stamp = tuple[int, int, int]


class ClientTls:
    """The files that two settings name, as one context for all clients.

    `trust`: CA certificates; None: the public ones.
    `identity`: certificate and key in one file; None: none is shown.
    `context`: takes part in every new connection; `refresh` changes it in place.
    Raises `HostError`.
    """

    def __init__(self, trust: Path | None, identity: Path | None) -> None:
        self._trust = trust
        self._identity = identity
        self._stamps = self._look()
        self.context = _trusting(trust)
        if identity is not None:
            show(self.context, identity)

    def refresh(self) -> bool:
        """Takes what is in the files now; whether they were replaced since the last look.

        A file that cannot be used is not taken, and tried again when it changes. A CA that is no
        longer named is trusted until the host starts again. Raises `HostError`.
        """
        stamps = self._look()
        if stamps == self._stamps:
            return False
        self._stamps = stamps
        # Tried apart first: a context that was given half of a file would show nothing.
        tried = _trusting(self._trust)
        if self._identity is not None:
            show(tried, self._identity)
            show(self.context, self._identity)
        if self._trust is not None:
            self.context.load_verify_locations(self._trust)
        return True

    async def keep_fresh(self) -> None:
        """Refreshes for ever."""
        while True:
            await asyncio.sleep(SECONDS_BETWEEN_LOOKS)
            try:
                if self.refresh():
                    _log.info("tls", detail="the certificate files were replaced, and are used")
            except (HostError, OSError) as error:
                _log.warning("tls", detail=f"{error}; what was read before is used")

    def _look(self) -> tuple[_Stamp | None, ...]:
        return tuple(_stamp(file) for file in (self._trust, self._identity) if file is not None)


def show(context: ssl.SSLContext, file: Path) -> None:
    """Lets a context show the certificate in a file, which holds its key too.

    Raises `HostError`.
    """
    try:
        # A password, so that nobody is asked for one.
        context.load_cert_chain(file, password="")
    except (OSError, ValueError) as error:
        raise HostError(
            f"{IDENTITY} is {file}, which cannot be used ({_reason(error)}): name a file that"
            " holds a certificate and its key, as PEM, that this user can read"
        ) from None


def _trusting(file: Path | None) -> ssl.SSLContext:
    if file is None:
        return httpx.create_ssl_context()
    try:
        return ssl.create_default_context(cafile=file)
    except OSError as error:
        raise HostError(
            f"{TRUST} is {file}, which cannot be used ({_reason(error)}): name a file of CA"
            " certificates, as PEM, that this user can read"
        ) from None


def _reason(error: OSError | ValueError) -> str:
    return getattr(error, "strerror", None) or str(error)


def _stamp(file: Path) -> _Stamp | None:
    try:
        found = file.stat()
    except OSError:
        return None
    return found.st_ino, found.st_mtime_ns, found.st_size
