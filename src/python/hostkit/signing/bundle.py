"""The file that holds a signature: a Sigstore bundle around a DSSE envelope, signed with a key."""

import base64
import binascii
import json
from collections.abc import Iterable

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.hashes import SHA256
from pydantic import BaseModel, ConfigDict, Field, ValidationError
from pydantic.alias_generators import to_camel

from hostkit.signing.errors import BadSignatureError
from hostkit.signing.keys import PrivateKey, PublicKey, fingerprint

MOST_BYTES = 8 * 1024 * 1024

_MEDIA_TYPE = "application/vnd.dev.sigstore.bundle.v0.3+json"
_PAYLOAD_TYPE = "application/vnd.in-toto+json"


class _Part(BaseModel):
    model_config = ConfigDict(frozen=True, alias_generator=to_camel, populate_by_name=True)


class _KeyName(_Part):
    hint: str


class _Material(_Part):
    public_key: _KeyName


class _Signature(_Part):
    sig: str


class _Envelope(_Part):
    payload: str
    payload_type: str
    signatures: list[_Signature] = Field(min_length=1, max_length=1)


class _Bundle(_Part):
    media_type: str
    verification_material: _Material
    dsse_envelope: _Envelope


def seal(payload: bytes, key: PrivateKey) -> bytes:
    """The file that has `payload` and its signature."""
    signature = key.sign(_signed(payload), ec.ECDSA(SHA256()))
    document = {
        "mediaType": _MEDIA_TYPE,
        "verificationMaterial": {
            "publicKey": {"hint": fingerprint(key.public_key())},
            "tlogEntries": [],
        },
        "dsseEnvelope": {
            "payload": base64.b64encode(payload).decode(),
            "payloadType": _PAYLOAD_TYPE,
            "signatures": [{"sig": base64.b64encode(signature).decode(), "keyid": ""}],
        },
    }
    return json.dumps(document).encode()


def unseal(file: bytes, keys: Iterable[PublicKey]) -> bytes:
    """What one of the keys has signed. Raises `BadSignatureError`."""
    try:
        bundle = _Bundle.model_validate_json(file)
    except ValidationError:
        raise BadSignatureError("its signature cannot be read") from None
    envelope = bundle.dsse_envelope
    if (bundle.media_type, envelope.payload_type) != (_MEDIA_TYPE, _PAYLOAD_TYPE):
        raise BadSignatureError("its signature is of another form")
    signer = bundle.verification_material.public_key.hint
    key = next((key for key in keys if fingerprint(key) == signer), None)
    if key is None:
        raise BadSignatureError(f"it is signed with the key {signer[:64]!r}, which is not trusted")
    try:
        payload = base64.b64decode(envelope.payload, validate=True)
        signature = base64.b64decode(envelope.signatures[0].sig, validate=True)
        key.verify(signature, _signed(payload), ec.ECDSA(SHA256()))
    except (binascii.Error, ValueError, InvalidSignature):
        raise BadSignatureError("its signature is not by the key that it names") from None
    return payload


def _signed(payload: bytes) -> bytes:
    """DSSE's encoding before authentication."""
    return b"DSSEv1 %d %s %d %s" % (
        len(_PAYLOAD_TYPE),
        _PAYLOAD_TYPE.encode(),
        len(payload),
        payload,
    )
