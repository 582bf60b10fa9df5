"""Signs the files of a model, before they go to where others may change them."""

from pathlib import Path

from hostkit.errors import HostError
from hostkit.signing.bundle import seal
from hostkit.signing.errors import KeyFileError
from hostkit.signing.keys import PrivateKey, fingerprint, read_private_key
from hostkit.signing.statement import SIGNATURE_FILE, Identity, Statement, digests

TAG = "signed_by"
"""The tag of a version with the fingerprint of the key."""


def sign(folder: Path, identity: Identity, key_file: Path) -> None:
    """Writes the signature of the files of a model beside them."""
    statement = Statement(identity, digests(folder))
    (folder / SIGNATURE_FILE).write_bytes(seal(statement.encode(), read_key(key_file)))


def fingerprint_of(key_file: Path) -> str:
    """Of the key that signs."""
    return fingerprint(read_key(key_file).public_key())


def read_key(file: Path) -> PrivateKey:
    """The private key in a file. Raises `HostError`."""
    try:
        return read_private_key(file.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, KeyFileError) as error:
        reason = getattr(error, "strerror", None) or error
        raise HostError(
            f"MODEL_SIGNING_KEY in {file} cannot be used ({reason}): empty that file and run"
            " 'install', which makes a new key, then copy the public key to the API"
        ) from None
