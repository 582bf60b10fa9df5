"""Attacks on an API that is installed, directly or through what is in front of it."""

from tests.attacks.connections import half_a_body, held, nothing, slowly
from tests.attacks.honest import Honest
from tests.attacks.target import Attack, Target


def _bomb(body: bytes, **headers: str) -> Attack:
    """One body, which is refused."""

    def attack(target: Target, _: Honest) -> str:
        given = {"Content-Type": "application/json"}
        given |= {name.replace("_", "-"): value for name, value in headers.items()}
        with target.client() as attacker:
            answer = attacker.post(target.task, content=body, headers=given)
        kind = answer.json()["type"].rpartition(":")[2]
        return f"{answer.status_code} {kind}"

    return attack


def _many_headers(target: Target, _: Honest) -> str:
    with target.client() as attacker:
        headers = {f"X-{index}": "y" for index in range(200)}
        answer = attacker.get("/v1/models", headers=headers)
    return str(answer.status_code)


ATTACKS: dict[str, Attack] = {
    "headers that do not end": held(slowly),
    "half of a body": held(half_a_body),
    "nothing after the handshake": held(nothing),
    "arrays in arrays": _bomb(b'{"rows":' + b"[" * 10_000),
    "a zip bomb": _bomb(b"\x1f\x8b" + bytes(10_000), Content_Encoding="gzip"),
    "a body that is too large": _bomb(b" " * 17_000_000),
    "a string that is too long": _bomb(b'{"rows":[["' + b"y" * 100_000 + b'"]]}'),
    "too many columns": _bomb(b'{"rows":[[' + b"1," * 20_000 + b"1]]}"),
    "200 headers": _many_headers,
}
