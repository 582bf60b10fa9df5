"""Attacks on MLflow and Airflow, which read requests by frameworks that we did not write."""

import socket
from collections.abc import Callable, Iterable
from itertools import groupby
from secrets import token_hex
from typing import Any

from tests.attacks import http2
from tests.attacks.connections import (
    cut_off,
    flood_of_a_header,
    flood_of_headers,
    half_a_body,
    held,
    nothing,
    refused,
    slowly,
)
from tests.attacks.honest import Honest
from tests.attacks.stranger import flood
from tests.attacks.target import Attack, Target, head, head_of_stranger, lines

GUESSES = 15
JSON = "Content-Type: application/json"
CHUNK = b"10000\r\n" + b" " * 0x10000 + b"\r\n"

FILE = "etc/passwd"
INSIDE = b"root:"
ELSEWHERE = (
    "../" * 8 + FILE,
    "..%2f" * 8 + FILE.replace("/", "%2f"),
    "%2e%2e/" * 8 + FILE,
    "%252e%252e%252f" * 8 + FILE.replace("/", "%252f"),
    "..%5c" * 8 + FILE.replace("/", "%5c"),
    "..;/" * 8 + FILE,
    "..%c0%af" * 8 + FILE,
    f"%00/{FILE}",
    f"/{FILE}",
    f"%2f{FILE}",
    f"file:///{FILE}",
)
"""A file of the server, from any folder."""


def _announced(target: Target, attacker: socket.socket) -> None:
    """A stranger's body, that says how large it will be."""
    request = head_of_stranger(target, JSON, f"Content-Length: {10**10}", "")
    flood(attacker, request, b" " * 10**6)


def _in_chunks(target: Target, attacker: socket.socket) -> None:
    """A stranger's body without end."""
    flood(attacker, head_of_stranger(target, JSON, "Transfer-Encoding: chunked", ""), CHUNK)


def _in_chunks_by_name(target: Target, attacker: socket.socket) -> None:
    """A body without end of somebody whom it knows."""
    flood(attacker, head(target, JSON, "Transfer-Encoding: chunked", ""), CHUNK)


def _answered(body: bytes, **headers: str) -> Attack:
    """One body, that is read and refused."""

    def attack(target: Target, _: Honest) -> str:
        given = {"Content-Type": "application/json"}
        given |= {name.replace("_", "-"): value for name, value in headers.items()}
        with target.client() as attacker:
            answer = attacker.post(target.task, content=body, headers=given)
        assert answer.is_error
        return str(answer.status_code)

    return attack


def _many_headers(target: Target, _: Honest) -> str:
    with target.client() as attacker:
        return str(
            attacker.get(target.page, headers={f"X-{i}": "y" for i in range(200)}).status_code
        )


def _get(target: Target, path: str, *, known: bool) -> tuple[int, bytes]:
    """The answer to a path that is sent as it is."""
    shown = head(target, method="GET", path=path)
    request = shown if known else shown.replace(lines(target.shown), b"")
    with target.connect() as connection:
        connection.sendall(request + b"Connection: close\r\n\r\n")
        answer = connection.makefile("rb").read()
    return int(answer.split()[1]), answer


def files_elsewhere(prefixes: Iterable[str]) -> Attack:
    """Paths that lead out of a folder, behind each prefix, by somebody whom it knows."""

    def attack(target: Target, _: Honest) -> str:
        answers = [
            _get(target, prefix + path, known=True) for prefix in prefixes for path in ELSEWHERE
        ]
        assert not any(INSIDE in answer for _, answer in answers)
        statuses = sorted({status for status, _ in answers})
        return f"none of {len(answers)} is given: {', '.join(map(str, statuses))}"

    return attack


def without_account(paths: Iterable[str]) -> Attack:
    """Strangers who ask for what is there."""

    def attack(target: Target, _: Honest) -> str:
        statuses = {_get(target, path, known=False)[0] for path in paths}
        return ", ".join(map(str, sorted(statuses)))

    return attack


def guesses(method: str, path: str, attempt: Callable[[str], dict[str, Any]]) -> Attack:
    """Passwords, one after the other. `attempt`: how one is sent, for httpx."""

    def attack(target: Target, _: Honest) -> str:
        with target.client() as attacker:
            statuses = [
                attacker.request(method, path, **attempt(token_hex())).status_code
                for _ in range(GUESSES)
            ]
        return ", then ".join(
            f"{len(list(same))} times {status}" for status, same in groupby(statuses)
        )

    return attack


ATTACKS: dict[str, Attack] = {
    "nothing after the handshake": held(nothing),
    "headers that do not end": held(slowly),
    "half of a body": held(half_a_body),
    "headers that nobody ends": cut_off(slowly),
    "frames of HTTP/2": cut_off(http2.FLOODS["frames of an unknown kind"]),
    "headers without end": refused(flood_of_headers),
    "a header without end": refused(flood_of_a_header),
    "200 headers": _many_headers,
    "a body of 10 GB, and no account": refused(_announced),
    "chunks without end, and no account": refused(_in_chunks),
    "chunks without end": refused(_in_chunks_by_name),
    "arrays in arrays": _answered(b"[" * 500_000),
    "objects in objects": _answered(b'{"a":' * 100_000),
    "a number of 100 000 digits": _answered(b'{"max_results":' + b"9" * 100_000 + b"}"),
    "a zip bomb": _answered(b"\x1f\x8b" + bytes(10_000), Content_Encoding="gzip"),
}
