"""Bearer tokens: which are accepted, and that nothing that was not signed for us is."""

import base64
import json
import ssl
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread
from typing import Any

import httpx
import jwt
import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from hypothesis import HealthCheck, given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st
from jwt.algorithms import get_default_algorithms
from pydantic import SecretStr

from api_host.auth import key_set, tokens
from api_host.auth.caller import Access, Caller
from api_host.auth.guard import Guard
from api_host.auth.key_set import KeySet, read_key_set
from api_host.problems import Problem
from api_host.settings import ApiSettings
from hostkit.errors import SettingsError
from hostkit.settings import load

pytestmark = pytest.mark.anyio

ISSUER, AUDIENCE = "https://login.example.com/", "tripod-api"
SECRET = "0123456789abcdef0123456789abcdef"
RSA = rsa.generate_private_key(public_exponent=65537, key_size=2048)
KEYS: dict[str, Any] = {
    "RS256": RSA,
    "ES256": ec.generate_private_key(ec.SECP256R1()),
    "EdDSA": ed25519.Ed25519PrivateKey.generate(),
}


def jwk(algorithm: str, key: Any, **members: Any) -> dict[str, Any]:
    document = get_default_algorithms()[algorithm].to_jwk(key.public_key(), as_dict=True)
    return {**document, "kid": algorithm, **members}


def claims(**others: Any) -> dict[str, Any]:
    now = int(time.time())
    found = {"iss": ISSUER, "aud": AUDIENCE, "sub": "alice", "exp": now + 60, "scope": "predict"}
    return {name: v for name, v in {**found, **others}.items() if v is not None}


def signed(algorithm: str = "RS256", key: Any = None, **others: Any) -> str:
    headers = {"kid": algorithm, **others.pop("headers", {})}
    return jwt.encode(claims(**others), key or KEYS[algorithm], algorithm, headers)


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "jwks.json"
    write(path, *(jwk(name, key) for name, key in KEYS.items()))
    return path


def write(path: Path, *entries: dict[str, Any]) -> None:
    path.write_text(json.dumps({"keys": entries}))


def guard_with(tmp: Path, client: httpx.AsyncClient | None = None, **members: Any) -> Guard:
    return Guard(
        ApiSettings(
            api_auth="yes",
            api_keys_file=tmp / "keys.json",
            api_jwt_issuer=ISSUER,
            api_jwt_audience=AUDIENCE,
            **members,
        ),
        client or httpx.AsyncClient(),
    )


@pytest.fixture
def guard(file: Path, tmp_path: Path) -> Guard:
    """Of a host that trusts the keys of a file."""
    return guard_with(tmp_path, api_jwks=str(file))


@pytest.fixture
def secretive(tmp_path: Path) -> Guard:
    """Of a host that shares a secret with whoever makes tokens."""
    return guard_with(tmp_path, api_jwt_secret=SecretStr(SECRET))


async def refused(guard: Guard, token: str) -> str:
    """Why a token is refused."""
    with pytest.raises(Problem) as problem:
        await guard.check(token)
    assert problem.value.kind.status == 401
    assert guard.known(token) is None
    assert len(token) < len("header.claims") or token not in problem.value.detail
    return problem.value.detail


@pytest.mark.parametrize("algorithm", KEYS)
async def test_a_token_says_who_asks_and_what_they_may(guard: Guard, algorithm: str) -> None:
    token = signed(algorithm, scope="predict unknown train", models=["iris"])
    assert guard.known(token) is None
    caller = await guard.check(token)
    access = frozenset({Access.PREDICT, Access.TRAIN})
    assert caller == Caller("token:alice", access, frozenset({"iris"}))
    assert guard.known(token) == caller


async def test_a_shared_secret_will_do(secretive: Guard) -> None:
    caller = await secretive.check(signed("HS256", SECRET))
    assert caller == Caller("token:alice", frozenset({Access.PREDICT}))


async def test_a_token_without_scope_may_nothing(guard: Guard) -> None:
    caller = await guard.check(signed(scope=None))
    assert caller.access == frozenset()
    with pytest.raises(Problem) as problem:
        guard.allow(caller, Access.PREDICT)
    assert problem.value.kind.status == 403


@pytest.mark.parametrize(
    ("members", "why"),
    [
        ({"iss": "https://evil.example.com/"}, "iss"),
        ({"iss": None}, "it has no iss"),
        ({"aud": "another-api"}, "aud"),
        ({"aud": None}, "it has no aud"),
        ({"exp": None}, "it has no exp"),
        ({"exp": 1}, "expired"),
        ({"exp": "soon"}, "token"),
        ({"exp": float("inf")}, "token"),
        ({"nbf": 10**10}, "not valid yet"),
        ({"sub": None}, "it has no sub"),
        ({"sub": ""}, "sub"),
        ({"sub": "alice\nroot"}, "sub"),
        ({"sub": "a" * 129}, "sub"),
        ({"scope": ["predict"]}, "scope"),
        ({"models": "iris"}, "models"),
        ({"models": [1]}, "models"),
        ({"headers": {"typ": "logout+jwt"}}, "typ"),
        ({"headers": {"kid": "unknown"}}, "unknown key"),
        ({"headers": {"kid": "RS256\n"}}, "unknown key"),
        ({"headers": {"kid": "../../../../dev/null"}}, "unknown key"),
        ({"headers": {"kid": "' OR 1=1 --"}}, "unknown key"),
        ({"headers": {"kid": "ES256"}}, "algorithm"),
        ({"headers": {"crit": ["exp"]}}, "token"),
        ({"headers": {"crit": ["b64"]}}, "token"),
        ({"pad": "x" * 9000}, "characters"),
    ],
)
async def test_what_is_not_right_is_refused(guard: Guard, members: Any, why: str) -> None:
    assert why in await refused(guard, signed(**members))


async def test_without_a_kid_there_may_be_one_key_only(guard: Guard, tmp_path: Path) -> None:
    token = jwt.encode(claims(), RSA, "RS256")
    assert "names no key" in await refused(guard, token)
    write(tmp_path / "one.json", jwk("RS256", RSA, kid=None))
    single = guard_with(tmp_path, api_jwks=str(tmp_path / "one.json"))
    assert (await single.check(token)).name == "token:alice"


def forged(header: dict[str, Any], signature: bytes = b"", **others: Any) -> str:
    def encoded(content: bytes) -> str:
        return base64.urlsafe_b64encode(content).rstrip(b"=").decode()

    parts = (json.dumps(part).encode() for part in (header, claims(**others)))
    return ".".join([*map(encoded, parts), encoded(signature)])


async def test_a_token_does_not_choose_how_it_is_checked(guard: Guard, secretive: Guard) -> None:
    public = RSA.public_key()
    pem = public.public_bytes(
        serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo
    )
    der = public.public_bytes(
        serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo
    )
    hmac = get_default_algorithms()["HS256"]
    for secret in (pem, der, json.dumps(jwk("RS256", RSA)).encode(), b"x" * 32, SECRET.encode()):
        unsigned = forged({"alg": "HS256", "kid": "RS256"}).rpartition(".")[0]
        signature = hmac.sign(unsigned.encode(), secret)
        token = f"{unsigned}.{base64.urlsafe_b64encode(signature).rstrip(b'=').decode()}"
        assert "algorithm" in await refused(guard, token)
    for name in ("none", "None", "NONE", "", None, "HS384", "RS256", ["RS256"]):
        await refused(guard, forged({"alg": name, "kid": "RS256"}))
        await refused(secretive, forged({"alg": name}))
    for algorithm in KEYS:
        await refused(secretive, signed(algorithm))
    stranger = rsa.generate_private_key(public_exponent=65537, key_size=2048)
    for header in ({}, {"jwk": jwk("RS256", stranger)}, {"jku": "http://127.0.0.1:1/jwks"}):
        assert "signature" in await refused(guard, signed(key=stranger, headers=header))
    await refused(secretive, signed("HS256", "y" * 32))


TOKENS = {name: signed(name, exp=int(time.time()) + 10_000) for name in KEYS}


@hypothesis_settings(
    max_examples=200, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(
    algorithm=st.sampled_from(sorted(KEYS)),
    place=st.integers(0, 2000),
    other=st.sampled_from("ABCXYZabcxyz0189-_.=+/ \n{}"),
    change=st.sampled_from(["replace", "insert", "delete"]),
)
async def test_a_token_that_was_changed_anywhere_is_refused(
    guard: Guard, algorithm: str, place: int, other: str, change: str
) -> None:
    token = TOKENS[algorithm]
    at = place % len(token)
    rest = token[at:] if change == "insert" else token[at + 1 :]
    changed = token[:at] + ("" if change == "delete" else other) + rest
    if changed == token or _means(changed) == _means(token):
        return  # The same bytes: of its last character some bits mean nothing.
    await refused(guard, changed)


def _means(token: str) -> list[bytes] | None:
    try:
        return [
            base64.b64decode(part + "=" * (-len(part) % 4), altchars=b"-_", validate=True)
            for part in token.split(".")
        ]
    except ValueError:
        return None


@hypothesis_settings(
    max_examples=200, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(text=st.text(max_size=200) | st.text("tripod_0123456789abcdef.", max_size=90))
async def test_no_text_that_was_made_up_is_accepted(guard: Guard, text: str) -> None:
    assert guard.known(text) is None
    await refused(guard, f"{text}.")


def test_keys_for_something_else_are_passed_over() -> None:
    weak = rsa.generate_private_key(public_exponent=65537, key_size=1024)
    other_curve = ec.generate_private_key(ec.SECP384R1())
    private = get_default_algorithms()["RS256"].to_jwk(RSA, as_dict=True)
    entries = [
        jwk("RS256", RSA),
        jwk("RS256", RSA, kid="encrypts", use="enc"),
        jwk("RS256", RSA, kid="other", alg="PS256"),
        jwk("RS256", weak, kid="weak"),
        jwk("ES384", other_curve, kid="curve"),
        {**private, "kid": "private"},
        {"kty": "oct", "k": "c2VjcmV0", "kid": "secret", "alg": "HS256"},
        {"kty": "RSA", "kid": "broken"},
        "nothing",
    ]
    assert read_key_set(json.dumps({"keys": entries}).encode()).keys() == {"RS256"}
    for content in (b"", b"[]", b"{}", b'{"keys": 1}', b'{"keys": []}', b"[" * 100_000):
        with pytest.raises(ValueError, match="key"):
            read_key_set(content)
    nameless = json.dumps({"keys": [jwk("RS256", RSA, kid=["no", "name"])]})
    assert read_key_set(nameless.encode()).keys() == {None}
    twice = json.dumps({"keys": [jwk("RS256", RSA), jwk("RS256", RSA)]})
    with pytest.raises(ValueError, match="one kid"):
        read_key_set(twice.encode())


@contextmanager
def serving(content: Callable[[], bytes | None]) -> Iterator[tuple[str, list[str]]]:
    """The URL of a server that answers with what `content` gives, and what it was asked."""
    asked: list[str] = []

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            asked.append(self.path)
            found = content()
            self.send_response(503 if found is None else 200)
            self.end_headers()
            self.wfile.write(found or b"")

        def log_message(self, *_: object) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        Thread(target=server.serve_forever, daemon=True).start()
        try:
            yield f"http://127.0.0.1:{server.server_address[1]}/jwks", asked
        finally:
            server.shutdown()


async def test_a_key_set_is_asked_again_for_a_new_key_but_not_at_every_token(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    known = [jwk("RS256", RSA)]
    content: list[bytes | None] = [json.dumps({"keys": known}).encode()]
    with serving(lambda: content[0]) as (url, asked):
        async with httpx.AsyncClient() as client:
            guard = guard_with(tmp_path, client, api_jwks=url)
            await guard.check(signed())
            for number in range(20):
                await refused(guard, signed("ES256", headers={"kid": f"no {number}"}))
            assert len(asked) == 1
            monkeypatch.setattr(key_set, "SECONDS_BETWEEN_QUESTIONS", 0.0)
            known.append(jwk("ES256", KEYS["ES256"]))
            content[0] = json.dumps({"keys": known}).encode()
            await guard.check(signed("ES256"))
            assert len(asked) == 2
            # Away, or broken: the last good keys stay.
            for broken in (None, b"<html>", b"x" * (key_set.MOST_BYTES + 1)):
                content[0] = broken
                await refused(guard, signed("EdDSA"))
                (problem,) = guard.problems
                assert url in problem
                await guard.check(signed("RS256", sub="bob"))
            # A key that was withdrawn: what was signed with it is forgotten too.
            token = signed("RS256", sub="carol")
            await guard.check(token)
            content[0] = json.dumps({"keys": known[1:]}).encode()
            await refused(guard, signed("EdDSA"))
            await refused(guard, token)
            assert not guard.problems


async def test_a_key_set_over_tls_comes_from_its_own_server_only(tmp_path: Path) -> None:
    with serving(lambda: json.dumps({"keys": [jwk("RS256", RSA)]}).encode()) as (url, asked):
        async with httpx.AsyncClient(verify=ssl.create_default_context()) as client:
            guard = guard_with(tmp_path, client, api_jwks=url.replace("http:", "https:"))
            await refused(guard, signed())
            assert not asked


async def test_no_more_tokens_are_remembered_than_there_is_room_for(
    secretive: Guard, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tokens, "MOST_REMEMBERED", 3)
    given_tokens = [signed("HS256", SECRET, sub=f"user-{number}") for number in range(5)]
    for token in given_tokens:
        await secretive.check(token)
    remembered = [secretive.known(token) is not None for token in given_tokens]
    assert remembered == [False, False, True, True, True]


async def test_a_token_that_expires_is_forgotten(
    secretive: Guard, monkeypatch: pytest.MonkeyPatch
) -> None:
    token = signed("HS256", SECRET)
    await secretive.check(token)
    end = time.time() + 60 + tokens.LEEWAY_SECONDS
    monkeypatch.setattr(time, "time", lambda: end + 1)
    assert secretive.known(token) is None


async def test_the_source_of_keys_is_a_key_set(file: Path) -> None:
    async with httpx.AsyncClient() as client:
        assert (await KeySet(str(file), client, 300).find("EdDSA")).algorithm == "EdDSA"


@pytest.mark.parametrize(
    ("given_settings", "word"),
    [
        ({"API_JWT_ISSUER": ISSUER}, "API_JWT_AUDIENCE"),
        ({"API_JWKS": "/etc/jwks.json"}, "API_JWT_ISSUER"),
        ({"API_JWKS": "http://login.example.com/jwks"}, "https"),
        ({"API_JWKS": "jwks.json"}, "absolute path"),
        ({"API_JWT_SECRET": "short"}, "32 bytes"),
        ({"API_JWKS": "/etc/jwks.json", "API_JWT_SECRET": SECRET}, "both set"),
    ],
)
def test_half_of_what_tokens_need_is_refused(given_settings: dict[str, str], word: str) -> None:
    others = (
        {"API_JWT_ISSUER": ISSUER, "API_JWT_AUDIENCE": AUDIENCE}
        if word
        in (
            "32 bytes",
            "both set",
        )
        else {}
    )
    with pytest.raises(SettingsError, match=word) as error:
        load(ApiSettings, environment={**others, **given_settings})
    assert SECRET not in str(error.value)
