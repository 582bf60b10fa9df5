"""Bearer tokens (JWT, RFC 7519): signed by an identity provider, or with a secret that we share."""

import hashlib
import re
import time
from collections.abc import Mapping
from typing import Any

import jwt

from api_host.auth.caller import Access, Caller
from api_host.auth.errors import BadTokenError, ExpiredTokenError
from api_host.auth.key_set import KeySet, UnknownKeyError

LEEWAY_SECONDS = 10.0
"""By how much the clocks of this host and of whoever makes tokens may differ."""

MOST_CHARACTERS = 8192
MOST_REMEMBERED = 10_000
MOST_MODELS = 1000

SECRET_ALGORITHM = "HS256"  # noqa: S105
KIND = {None, "JWT", "AT+JWT", "APPLICATION/AT+JWT"}
"""What the header may call a token: others are made for something else."""

_SUBJECT = re.compile(r"[!-~]{1,128}")


class Tokens:
    """Checks tokens.

    `issuer`, `audience`: what they must say.
    `key_set`: has the keys that they are signed with; or
    `secret`: that they are signed with. Never both: a token does not choose how it is checked.
    """

    def __init__(self, issuer: str, audience: str, key_set: KeySet | None, secret: str) -> None:
        self._issuer = issuer
        self._audience = audience
        self._key_set = key_set
        self._secret = secret
        self._remembered: dict[bytes, tuple[Caller, float]] = {}
        if key_set is not None:
            # What was signed with a key that is no longer there.
            key_set.when_changed(self._remembered.clear)

    def find(self, token: str) -> Caller | None:
        """Who bears a token that was checked before and is good still."""
        found = self._remembered.get(_digest(token))
        return None if found is None or found[1] <= time.time() else found[0]

    async def check(self, token: str) -> Caller:
        """Who bears a token. Raises `BadTokenError`."""
        if len(token) > MOST_CHARACTERS:
            raise BadTokenError(f"it has more than {MOST_CHARACTERS} characters")
        try:
            key, algorithm = await self._key(_header(token))
            claims: dict[str, Any] = jwt.decode(
                token,
                key,
                algorithms=[algorithm],
                issuer=self._issuer,
                audience=self._audience,
                leeway=LEEWAY_SECONDS,
                options={"require": ["exp", "iss", "aud", "sub"]},
            )
        except jwt.ExpiredSignatureError:
            raise ExpiredTokenError("it has expired") from None
        except jwt.PyJWTError as error:
            raise BadTokenError(_why(error)) from None
        except (ValueError, TypeError, OverflowError, RecursionError):
            raise BadTokenError("it is no JWT") from None
        caller = _caller(claims)
        self._remember(token, caller, float(claims["exp"]) + LEEWAY_SECONDS)
        return caller

    async def _key(self, header: Mapping[str, Any]) -> tuple[Any, str]:
        """The key that a token says it is signed with, and that key's own algorithm."""
        algorithm = header.get("alg")
        if self._key_set is None:
            if algorithm != SECRET_ALGORITHM:
                raise BadTokenError(f"its algorithm is not {SECRET_ALGORITHM}")
            return self._secret, SECRET_ALGORITHM
        kid = header.get("kid")
        if kid is not None and not isinstance(kid, str):
            raise BadTokenError("its kid is no text")
        try:
            key = await self._key_set.find(kid)
        except UnknownKeyError as error:
            raise BadTokenError(str(error)) from None
        if key.algorithm != algorithm:
            raise BadTokenError(f"its algorithm is not {key.algorithm}, which its key is for")
        return key.key, key.algorithm

    def _remember(self, token: str, caller: Caller, end: float) -> None:
        while len(self._remembered) >= MOST_REMEMBERED:
            del self._remembered[next(iter(self._remembered))]
        self._remembered[_digest(token)] = caller, end


def _digest(token: str) -> bytes:
    return hashlib.sha256(token.encode()).digest()


def _header(token: str) -> dict[str, Any]:
    header = jwt.get_unverified_header(token)
    kind = header.get("typ")
    if not (kind is None or isinstance(kind, str)) or (kind and kind.upper() not in KIND):
        raise BadTokenError("its typ is not JWT")
    if "crit" in header:
        raise BadTokenError("its header asks for an extension (crit) that this host does not have")
    return header


def _caller(claims: Mapping[str, Any]) -> Caller:
    subject, scope = claims["sub"], claims.get("scope", "")
    if not isinstance(subject, str) or not _SUBJECT.fullmatch(subject):
        raise BadTokenError("its sub is not a name of 1 to 128 printable ASCII characters")
    if not isinstance(scope, str):
        raise BadTokenError("its scope is no text")
    access = frozenset(each for each in Access if each in scope.split(" "))
    return Caller(f"token:{subject}", access, _models(claims.get("models")))


def _models(models: object) -> frozenset[str] | None:
    if models is None:
        return None
    if (
        not isinstance(models, list)
        or len(models) > MOST_MODELS
        or not all(isinstance(model, str) for model in models)
    ):
        raise BadTokenError("its models is no list of names")
    return frozenset(models)


def _why(error: jwt.PyJWTError) -> str:
    match error:
        case jwt.InvalidIssuerError():
            return "its iss is not the issuer that this host trusts"
        case jwt.InvalidAudienceError():
            return "its aud is not this host"
        case jwt.ImmatureSignatureError():
            return "it is not valid yet"
        case jwt.InvalidSignatureError():
            return "its signature is not right"
        case jwt.MissingRequiredClaimError():
            return f"it has no {error.claim}"
    return "it is no JWT that this host accepts"
