"""A private CA: a key and a certificate in a folder, which sign the certificates of hosts."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path
from typing import Self

from cryptography import x509
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from hostkit.errors import HostError
from hostkit.files import read_or_create
from hostkit.tls.names import constraints

LIFE = timedelta(days=3652)
"""Of a CA: ten years."""

CERTIFICATE = "ca.pem"
KEY = "ca.key"

_LEEWAY = timedelta(hours=1)
"""How far the clock of another host may be behind."""


@dataclass(frozen=True)
class Authority:
    """A CA.

    `certificate`: what those who trust it have.
    `key`: what it signs with.
    """

    certificate: x509.Certificate
    key: ec.EllipticCurvePrivateKey

    @classmethod
    def make(cls, folder: Path, only: Sequence[str], now: datetime) -> Self:
        """Makes a CA in a folder, or finds the one that is there: it is never replaced.

        `only`: the domains and networks that it may sign for; empty: any.
        Raises `HostError`.
        """
        limits = constraints(only) if only else None
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        if (folder / CERTIFICATE).exists() and not (folder / KEY).exists():
            raise HostError(
                f"{folder / CERTIFICATE} has lost its key, {KEY}: put the key back, or make another"
                " CA in another folder"
            )
        # The key first: without its certificate it has signed nothing.
        key = _read_key(folder / KEY, read_or_create(folder / KEY, _new_key))
        read_or_create(
            folder / CERTIFICATE, lambda: _pem(_self_signed(key, limits, now)), mode=0o644
        )
        found = cls.open(folder)
        if limits and found.limits != limits:
            raise HostError(
                f"the CA in {folder} is there already, and may not sign for exactly"
                f" {', '.join(only)}: make another one in another folder"
            )
        return found

    @classmethod
    def open(cls, folder: Path) -> Self:
        """The CA that is in a folder. Raises `HostError`."""
        file = folder / CERTIFICATE
        try:
            certificate = x509.load_pem_x509_certificate(file.read_bytes())
            key = _read_key(folder / KEY, (folder / KEY).read_text(encoding="utf-8"))
        except FileNotFoundError:
            raise HostError(
                f"there is no CA in {folder}: 'tls ca --folder {folder}' makes one; --ca names"
                " another folder"
            ) from None
        except ValueError:
            raise HostError(f"{file} is no certificate (PEM): put the right file back") from None
        if certificate.public_key() != key.public_key():
            raise HostError(
                f"{file} is of another key than {KEY} beside it: put the right one back"
            )
        return cls(certificate, key)

    @property
    def limits(self) -> x509.NameConstraints | None:
        """What it may sign for; None: anything."""
        try:
            return self.certificate.extensions.get_extension_for_class(x509.NameConstraints).value
        except x509.ExtensionNotFound:
            return None

    def signed(self, certificate: x509.Certificate) -> bool:
        """Whether it made a certificate."""
        try:
            certificate.verify_directly_issued_by(self.certificate)
        except (InvalidSignature, TypeError, ValueError):
            return False
        return True

    def issue(self, names: Sequence[x509.GeneralName], life: timedelta, now: datetime) -> str:
        """A new key and its certificate, as PEM, with which a host serves and calls.

        Raises `HostError`.
        """
        last = self.certificate.not_valid_after_utc
        if now >= last:
            raise HostError(
                f"the CA ended on {last:%Y-%m-%d}: make another one in another folder ('tls ca')"
            )
        key = ec.generate_private_key(ec.SECP256R1())
        purposes = [ExtendedKeyUsageOID.SERVER_AUTH, ExtendedKeyUsageOID.CLIENT_AUTH]
        issuer = x509.SubjectKeyIdentifier.from_public_key(self.key.public_key())
        certificate = (
            _builder(key, now - _LEEWAY, min(now + life, last), _usage(signs=False))
            .subject_name(_name(NameOID.ORGANIZATION_NAME, "Tripod"))
            .issuer_name(self.certificate.subject)
            .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
            .add_extension(x509.ExtendedKeyUsage(purposes), critical=False)
            .add_extension(x509.SubjectAlternativeName(names), critical=False)
            .add_extension(
                x509.AuthorityKeyIdentifier.from_issuer_subject_key_identifier(issuer),
                critical=False,
            )
            .sign(self.key, hashes.SHA256())
        )
        return _text(key) + _pem(certificate)


def _self_signed(
    key: ec.EllipticCurvePrivateKey, limits: x509.NameConstraints | None, now: datetime
) -> x509.Certificate:
    # A name of its own: beside an older CA of this kind nobody takes one for the other.
    digest = x509.SubjectKeyIdentifier.from_public_key(key.public_key()).digest.hex()
    name = _name(NameOID.COMMON_NAME, f"Tripod CA {digest[:8]}")
    builder = (
        _builder(key, now - _LEEWAY, now + LIFE, _usage(signs=True))
        .subject_name(name)
        .issuer_name(name)
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
    )
    if limits is not None:
        builder = builder.add_extension(limits, critical=True)
    return builder.sign(key, hashes.SHA256())


def _builder(
    key: ec.EllipticCurvePrivateKey, start: datetime, end: datetime, usage: x509.KeyUsage
) -> x509.CertificateBuilder:
    public = key.public_key()
    return (
        x509.CertificateBuilder()
        .public_key(public)
        .serial_number(x509.random_serial_number())
        .not_valid_before(start)
        .not_valid_after(end)
        .add_extension(usage, critical=True)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(public), critical=False)
    )


def _usage(*, signs: bool) -> x509.KeyUsage:
    return x509.KeyUsage(
        digital_signature=not signs,
        key_cert_sign=signs,
        crl_sign=signs,
        content_commitment=False,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=False,
        encipher_only=False,
        decipher_only=False,
    )


def _name(kind: x509.ObjectIdentifier, text: str) -> x509.Name:
    return x509.Name([x509.NameAttribute(kind, text)])


def _new_key() -> str:
    return _text(ec.generate_private_key(ec.SECP256R1()))


def _text(key: ec.EllipticCurvePrivateKey) -> str:
    return key.private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.PKCS8,
        serialization.NoEncryption(),
    ).decode()


def _pem(certificate: x509.Certificate) -> str:
    return certificate.public_bytes(serialization.Encoding.PEM).decode()


def _read_key(file: Path, text: str) -> ec.EllipticCurvePrivateKey:
    try:
        key = serialization.load_pem_private_key(text.encode(), password=None)
    except (TypeError, ValueError):
        key = None
    if not isinstance(key, ec.EllipticCurvePrivateKey):
        raise HostError(f"{file} is no key that 'tls ca' made: put the right file back")
    return key
