"""The public keys of whoever signs tokens (JWKS, RFC 7517): of a file, or of a URL."""

import asyncio
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import jwt
import msgspec
import structlog
from cryptography.hazmat.primitives.asymmetric.ec import SECP256R1, EllipticCurvePublicKey
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPublicKey

SECONDS_BETWEEN_QUESTIONS = 10.0
"""A token may name a key that nobody has: it is asked for so often at most."""

MOST_BYTES = 1024 * 1024
MOST_KEYS = 100
LEAST_RSA_BITS = 2048

_log = structlog.get_logger("api_host.auth")


class UnknownKeyError(Exception):
    """There is no key by the name that a token gives; its one argument says so in words."""


@dataclass(frozen=True)
class PublicKey:
    """A key that checks signatures.

    `algorithm`: the one that it is for, whatever a token says.
    """

    key: Any
    algorithm: str


class KeySet:
    """Keys by their `kid`, the last good ones where the source is away.

    `source`: an absolute path, or a URL.
    `seconds`: how old they may get.
    `problem`: why the source could not be used; None if it could.
    """

    def __init__(self, source: str, client: httpx.AsyncClient, seconds: float) -> None:
        self.problem: str | None = None
        self._source = source
        self._client = client
        self._seconds = seconds
        self._keys: dict[str | None, PublicKey] = {}
        self._changed: list[Callable[[], None]] = []
        self._last_question = float("-inf")
        self._asking = asyncio.Lock()

    def when_changed(self, tell: Callable[[], None]) -> None:
        """Calls `tell` whenever there are other keys than before."""
        self._changed.append(tell)

    async def run(self) -> None:
        """Keeps the keys fresh, for ever."""
        while True:
            await self._ask()
            await asyncio.sleep(self._seconds)

    async def find(self, kid: str | None) -> PublicKey:
        """The key of that name; without one, the only key that there is.

        Raises `UnknownKeyError`.
        """
        found = self._find(kid)
        if found is None:
            await self._ask_for_another()
            found = self._find(kid)
        if found is None:
            why = "it names no key (kid)" if kid is None else "it is signed with an unknown key"
            raise UnknownKeyError(why)
        return found

    def _find(self, kid: str | None) -> PublicKey | None:
        if kid is None and len(self._keys) == 1:
            return next(iter(self._keys.values()))
        return self._keys.get(kid) if kid is not None else None

    async def _ask_for_another(self) -> None:
        async with self._asking:
            if time.monotonic() - self._last_question >= SECONDS_BETWEEN_QUESTIONS:
                await self._ask()

    async def _ask(self) -> None:
        self._last_question = time.monotonic()
        try:
            keys = read_key_set(await self._content())
        except (OSError, httpx.HTTPError, ValueError) as error:
            self._note(f"{self._source} gives no keys: {error or type(error).__name__}")
            return
        self._note(None)
        if keys != self._keys:
            self._keys = keys
            for tell in self._changed:
                tell()

    async def _content(self) -> bytes:
        if self._source.startswith("/"):
            return await asyncio.to_thread(Path(self._source).read_bytes)
        async with self._client.stream("GET", self._source) as response:
            response.raise_for_status()
            content = b""
            async for part in response.aiter_bytes():
                content += part
                if len(content) > MOST_BYTES:
                    raise ValueError(f"it has more than {MOST_BYTES} bytes")
        return content

    def _note(self, problem: str | None) -> None:
        if problem and problem != self.problem:
            _log.error("jwks", problem=problem, keys=len(self._keys))
        elif problem is None and self.problem:
            _log.info("jwks", problem=None)
        self.problem = problem


def read_key_set(content: bytes) -> dict[str | None, PublicKey]:
    """The keys of a JWKS that check signatures in a way that we accept. Raises `ValueError`."""
    try:
        entries = msgspec.json.decode(content)["keys"]
    except (msgspec.MsgspecError, KeyError, TypeError, RecursionError):
        raise ValueError("it is no JWKS: an object with the member keys") from None
    if not isinstance(entries, list) or len(entries) > MOST_KEYS:
        raise ValueError(f"keys must be an array of at most {MOST_KEYS}")
    found: dict[str | None, PublicKey] = {}
    for entry in entries:
        key = _public_key(entry) if isinstance(entry, dict) else None
        if key is None:
            continue
        name = entry.get("kid")
        kid = name if isinstance(name, str) else None
        if kid in found:
            raise ValueError("two of its keys have one kid, or none")
        found[kid] = key
    if not found:
        raise ValueError("it has no key for RS256 (2048 bits or more), ES256 or EdDSA")
    return found


def _public_key(entry: dict[str, Any]) -> PublicKey | None:
    """None for what is for something else: a secret above all, which would let anybody sign."""
    if entry.get("kty") not in ("RSA", "EC", "OKP") or entry.get("use", "sig") != "sig":
        return None
    try:
        key = jwt.PyJWK({name: value for name, value in entry.items() if name != "alg"}).key
    except (jwt.PyJWTError, ValueError, TypeError, KeyError):
        return None
    algorithm = _algorithm(key)
    if algorithm is None or entry.get("alg", algorithm) != algorithm:
        return None
    return PublicKey(key, algorithm)


def _algorithm(key: object) -> str | None:
    match key:
        case RSAPublicKey() if key.key_size >= LEAST_RSA_BITS:
            return "RS256"
        case EllipticCurvePublicKey() if isinstance(key.curve, SECP256R1):
            return "ES256"
        case Ed25519PublicKey():
            return "EdDSA"
    return None
