"""The keys that sign models: ECDSA on the curve P-256, as PEM."""

import hashlib

from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    PublicFormat,
    load_pem_private_key,
    load_pem_public_key,
)

from hostkit.signing.errors import KeyFileError

PrivateKey = ec.EllipticCurvePrivateKey
PublicKey = ec.EllipticCurvePublicKey


def make_key() -> str:
    """A new private key."""
    key = ec.generate_private_key(ec.SECP256R1())
    return key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()).decode()


def read_private_key(text: str) -> PrivateKey:
    """The key that a text is. Raises `KeyFileError`, which says nothing of the text."""
    try:
        key = load_pem_private_key(text.encode(), None)
    except (ValueError, TypeError, UnsupportedAlgorithm):
        key = None
    if not isinstance(key, PrivateKey) or not isinstance(key.curve, ec.SECP256R1):
        raise KeyFileError("it is no private key of the curve P-256, as PEM without a password")
    return key


def read_public_key(text: str) -> PublicKey:
    """The key that a text is. Raises `KeyFileError`."""
    try:
        key = load_pem_public_key(text.encode())
    except (ValueError, UnsupportedAlgorithm):
        key = None
    if not isinstance(key, PublicKey) or not isinstance(key.curve, ec.SECP256R1):
        raise KeyFileError("it is no public key of the curve P-256, as PEM")
    return key


def public_text(key: PublicKey) -> str:
    """The key as PEM."""
    return key.public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo).decode()


def fingerprint(key: PublicKey) -> str:
    """By which a key is told from others: SHA-256 of its PEM, as in the signatures themselves."""
    return hashlib.sha256(public_text(key).encode()).hexdigest()
