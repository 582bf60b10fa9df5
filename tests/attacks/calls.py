"""Attacks by gRPC: calls that a client library makes as it is told."""

from collections.abc import Callable, Sequence
from itertools import groupby
from typing import Any, Protocol

import grpc

from tests.attacks.honest import Honest
from tests.attacks.target import Target

SECONDS = 60.0
SERVICE = "/inference.GRPCInferenceService/"
INFER = SERVICE + "ModelInfer"
GUESSES = 15
STREAMS = 1000

Metadata = Sequence[tuple[str, str]]


class Callee(Target, Protocol):
    """A target that speaks gRPC."""

    def channel(self) -> grpc.Channel:
        """A new connection for calls."""


Attack = Callable[[Callee, Honest], str]


def metadata(target: Target, more: Metadata = ()) -> Metadata:
    """What a call shows."""
    return [*((name.lower(), value) for name, value in target.shown.items()), *more]


def answer_to(call: Any) -> str:
    """What became of a call, in words."""
    code: str = call.code().name
    problem = str(dict(call.trailing_metadata() or ()).get("problem-type", ""))
    return f"{code} {problem.rpartition(':')[2]}".strip()


def call(
    message: bytes = b"", path: str = INFER, more: Metadata = (), *, gzip: bool = False
) -> Attack:
    """One call by whom the target knows."""

    def attack(target: Callee, _: Honest) -> str:
        return _answer(target, message, path, metadata(target, more), gzip=gzip)

    return attack


def call_of_stranger(*paths: str) -> Attack:
    """Calls without a key."""

    def attack(target: Callee, _: Honest) -> str:
        return ", ".join(sorted({_answer(target, b"", path, ()) for path in paths}))

    return attack


def _answer(
    target: Callee, message: bytes, path: str, shown: Metadata, *, gzip: bool = False
) -> str:
    compression = grpc.Compression.Gzip if gzip else None
    with target.channel() as channel:
        ask: Any = channel.unary_unary(path)
        pending = ask.future(message, metadata=shown, timeout=SECONDS, compression=compression)
        pending.exception()  # Waits.
        return answer_to(pending)


def _taken_back(target: Callee, __: Honest) -> str:
    """Many calls, each taken back at once."""
    with target.channel() as channel:
        ask: Any = channel.stream_unary(INFER)
        for _ in range(STREAMS):
            ask.future(iter(()), metadata=metadata(target)).cancel()
    return f"{STREAMS} calls taken back, and served on"


def _guesses(target: Callee, _: Honest) -> str:
    """Keys that nobody has, one after the other."""
    answers = [
        _answer(target, b"", INFER, [("x-api-key", f"guess-{number}")]) for number in range(GUESSES)
    ]
    return ", then ".join(f"{len(list(same))} times {each}" for each, same in groupby(answers))


CALLS: dict[str, Attack] = {
    "a message that is too large": call(bytes(17_000_000)),
    "a message that is no protobuf": call(b"\xff" * 1000),
    "a message that is compressed": call(bytes(10_000_000), gzip=True),
    "200 metadata": call(more=[(f"x-{index}", "y") for index in range(200)]),
    "metadata of 1 MB": call(more=[("x", "y" * 1_000_000)]),
    "a method that is not there": call(path=SERVICE + "Drop"),
    "calls without a key": call_of_stranger(
        INFER, SERVICE + "ModelMetadata", SERVICE + "RepositoryIndex"
    ),
    "guesses of a key": _guesses,
    "many calls taken back": _taken_back,
}
