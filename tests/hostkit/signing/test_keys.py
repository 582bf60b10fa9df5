"""Keys that sign models."""

import subprocess

import pytest
from cryptography.hazmat.primitives.asymmetric import ec, ed25519
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

from hostkit.signing.bundle import seal, unseal
from hostkit.signing.errors import BadSignatureError, KeyFileError
from hostkit.signing.keys import (
    fingerprint,
    make_key,
    public_text,
    read_private_key,
    read_public_key,
)


def test_a_public_key_is_what_other_tools_make_of_the_private_one() -> None:
    private = make_key()
    command = ["openssl", "pkey", "-pubout"]
    made = subprocess.run(command, input=private, capture_output=True, text=True, check=True)
    assert public_text(read_private_key(private).public_key()) == made.stdout
    assert public_text(read_public_key(made.stdout)) == made.stdout


def test_any_of_several_keys_counts_and_no_other() -> None:
    old, new, other = (read_private_key(make_key()) for _ in range(3))
    known = [old.public_key(), new.public_key()]
    assert unseal(seal(b"old", old), known) == b"old"
    assert unseal(seal(b"new", new), known) == b"new"
    with pytest.raises(BadSignatureError, match=fingerprint(other.public_key())):
        unseal(seal(b"other", other), known)


def test_who_names_a_known_key_needs_to_have_it() -> None:
    known, other = read_private_key(make_key()), read_private_key(make_key())
    file = seal(b"payload", other)
    for key in (other, known):
        assert len(fingerprint(key.public_key())) == 64
    forged = file.replace(
        fingerprint(other.public_key()).encode(), fingerprint(known.public_key()).encode()
    )
    with pytest.raises(BadSignatureError, match="not by the key that it names"):
        unseal(forged, [known.public_key()])


@pytest.mark.parametrize(
    "key", [ec.generate_private_key(ec.SECP384R1()), ed25519.Ed25519PrivateKey.generate()]
)
def test_a_key_of_another_kind_is_refused(
    key: ec.EllipticCurvePrivateKey | ed25519.Ed25519PrivateKey,
) -> None:
    text = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()).decode()
    with pytest.raises(KeyFileError, match="P-256"):
        read_private_key(text)
    with pytest.raises(KeyFileError, match="P-256"):
        read_public_key(text)


@pytest.mark.parametrize("text", ["", "no key", "-----BEGIN PUBLIC KEY-----\n"])
def test_what_is_no_key_is_refused_and_not_shown(text: str) -> None:
    with pytest.raises(KeyFileError):
        read_public_key(text)
    with pytest.raises(KeyFileError) as caught:
        read_private_key(text)
    assert not text or text not in str(caught.value)
